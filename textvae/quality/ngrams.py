"""Words in a row: `words_of`, `ngrams` and `MAX_ORDER`, the longest that is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["MAX_ORDER", "Ngram", "ngrams", "words_of"]

MAX_ORDER = 4

Ngram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """What white space separates."""
    return text.split()


def ngrams(words: Sequence[str], order: int) -> Iterator[Ngram]:
    """Every `order` words in a row, from left to right, as often as they occur."""
    return zip(*(words[start:] for start in range(order)), strict=False)
