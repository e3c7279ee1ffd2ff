import json
import re
import runpy
from itertools import chain
from typing import Any

import pytest

from tests.scripts.running import SCRIPTS

NOTEBOOK = SCRIPTS.parent / "docs" / "tutorial.ipynb"
KB = 1000


def said(notebook: Any) -> str:
    """All text that the cells of code gave."""
    outputs = chain.from_iterable(cell.get("outputs", ()) for cell in notebook["cells"])
    return "".join("".join(output.get("text", "")) for output in outputs)


def assert_true(text: str) -> None:
    """What is written between the cells is what they show."""
    assert "verdict: collapsed" in text
    for recipe, verdict in {"vanilla": "collapsed", "default": "healthy"}.items():
        assert re.search(rf"^grammar-{recipe} .* {verdict}$", text, flags=re.MULTILINE)
    costs = [float(line.split()[0]) for line in text.splitlines() if " nats a token: " in line]
    assert len(costs) == 3
    assert max(costs[:2]) < costs[2]


def test_the_notebook_is_small_and_has_its_outputs():
    assert NOTEBOOK.stat().st_size <= 300 * KB
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert_true(said(notebook))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    drawn = [output for cell in code for output in cell["outputs"] if "data" in output]
    assert sum("image/png" in output["data"] for output in drawn) == 3


@pytest.mark.slow
def test_the_notebook_runs():
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    assert_true(said(runpy.run_path(str(SCRIPTS / "tutorial.py"))["executed"]()))
