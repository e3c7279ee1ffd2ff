"""The project's documents: their text, their code and their tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def tables(page: str) -> list[str]:
    return re.findall(r"(?:^\|.*\|$\n?)+", page, flags=re.MULTILINE)
