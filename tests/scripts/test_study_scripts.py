"""What the scripts that train many runs have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.running import assert_refused

Study = Callable[[str], tuple[Any, Callable[..., Any]]]

SCRIPTS = {"compare_annealers": [], "experiments": ["beta"]}
"""Each, with the arguments that it must have."""


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--jobs=0", "jobs must be at least 1, got 0"),
        ("--jobs=two", "jobs"),
        ("--seeds=[]", "seeds must be at least one, no two alike, got []"),
        ("--seeds=[0,0]", "seeds must be at least one, no two alike, got [0, 0]"),
        ("--seeds=[a]", "seeds"),
        ("--data-dir=gone.txt", "gone.txt"),
        ("--results-dir=file", "file"),
        ("--sedes=[1]", "sedes"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(
    study: Study, trained: list[str], tmp_path: Path, name: str, argument: str, named: str
) -> None:
    (tmp_path / "file").write_text("mine")
    _, run = study(name)
    assert_refused(run(*SCRIPTS[name], argument), named)
    assert trained == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_missing_matplotlib_is_noticed_before_training(
    study: Study, trained: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    _, run = study(name)
    assert_refused(run(*SCRIPTS[name]), 'pip install "textvae[plot]"')
    assert trained == []
