"""Every code block of `docs/your-own-loop.md` runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textvae.annealers import ScheduledAnnealer

DOC = Path(__file__).parents[2] / "docs" / "your-own-loop.md"
BLOCKS = re.findall(
    r"^```python ?(\w*)\n(.*?)^```$", DOC.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
STEPS = {0: 50, 1: 30, 2: 30}
"""Optimizer steps that the block of this position takes."""


def test_every_block_is_looked_at() -> None:
    assert [library for library, _ in BLOCKS] == ["", "lightning", "transformers", ""]


# Lightning's remarks on small runs, and its use of what torch is about to drop.
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator is found:UserWarning")
@pytest.mark.parametrize("position", range(4))
def test_blocks_run(position: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, code = BLOCKS[position]
    if library:
        pytest.importorskip(library, reason="needs the extra interop")
    monkeypatch.chdir(tmp_path)
    code = code.replace("Trainer(max_epochs", "Trainer(logger=False, max_epochs")
    names: dict[str, object] = {"__name__": "doc"}
    exec(code, names)
    annealer = names.get("annealer")
    if position in STEPS:
        assert isinstance(annealer, ScheduledAnnealer)
        assert annealer.current_step == STEPS[position]
        assert annealer.finished
