"""What a corpus is: `Corpus`, and its errors, `DataError` and `CorpusNotFound`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textvae.data.texts import TextSplit

__all__ = ["Corpus", "CorpusNotFound", "DataError"]


class DataError(ValueError):
    """A corpus that can't be used; the message says what is wrong, where, and what is allowed."""


class CorpusNotFound(DataError):  # noqa: N818 - reads as what it is where it is caught
    """A corpus that isn't there, or can't be reached.

    Attributes:
        ways: Ways to get it, a line each; empty where there is nothing to say.
    """

    def __init__(self, message: str, ways: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ways = tuple(ways)


@dataclass(frozen=True)
class Corpus:
    """Sentences in splits, memory-mapped.

    Attributes:
        name: What to call it in tables.
        splits: `"train"`, `"valid"`, `"test"`, as far as there are; each with a column `text` of
            sentences without surrounding whitespace, none of them empty. The embedded corpus has
            a column for every factor too.
        source: What `load_corpus` finds the same corpus by, from any directory.
        skipped: Empty lines left out of each split.
    """

    name: str
    splits: Mapping[str, TextSplit]
    source: str
    skipped: dict[str, int]

    def __getitem__(self, split: str) -> TextSplit:
        """One split.

        Raises:
            DataError: If there is no such split.
        """
        if split not in self.splits:
            raise DataError(
                f"{self.name} has no split {split!r}; it has {', '.join(self.splits) or 'none'}"
            )
        return self.splits[split]
