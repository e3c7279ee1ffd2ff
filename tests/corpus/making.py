"""Files to be read as a corpus, and what was read."""

from pathlib import Path
from typing import Any

from textvae.corpus import Corpus

LINES = [f"sentence {i}" for i in range(100)]
WHOLE: dict[str, Any] = {"valid_fraction": 0, "test_fraction": 0}


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def texts(corpus: Corpus, split: str = "train") -> list[str]:
    return list(corpus[split]["text"])
