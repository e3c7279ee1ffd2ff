"""Sentences in memory-mapped shards: `TextSplit`, its `Column`, and `store_texts`, which cleans.

Only the shard that is being read is in memory, so that a corpus may be larger than that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textvae.data.corpus import DataError
from textvae.data.store import SHARD_ROWS, Part, cache_root, digest, read_shard, stored
from textvae.tokenizer import find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

__all__ = ["Column", "TextSplit", "store_texts"]

CLEANING = 2
"""Counted up when the cleaning changes what it makes of a text, so that no old cache is taken."""


class TextSplit:
    """A split's sentences, and what else is known of each, by position.

    Reads like a `datasets.Dataset`: `split["text"]` is a column, `split[7]` a row, `split.select`
    a part. A `Dataset` becomes one by `TextSplit.from_dataset`.

    Attributes:
        key: A hash of the content, which caches go by.
        root: Directory of the caches.
        num_rows: Sentences.
        column_names: `text` first.
    """

    def __init__(
        self,
        shards: Sequence[Callable[[], pyarrow.Table]],
        sizes: Sequence[int],
        *,
        key: str,
        root: Path,
        rows: NDArray[np.int32] | None = None,
    ) -> None:
        """Take shards as functions that open them, their sizes, and the rows to keep of them."""
        self._shards = shards
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._rows = rows
        self.key = key
        self.root = root
        self.num_rows = int(self._first[-1]) if rows is None else len(rows)
        self.column_names: list[str] = shards[0]().column_names

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> TextSplit:
        """The rows of a data set as they are; its fingerprint is the key."""
        table = dataset.with_format("arrow")[:]
        starts = range(0, max(table.num_rows, 1), SHARD_ROWS)
        shards = [partial(table.slice, start, SHARD_ROWS) for start in starts]
        sizes = [shard().num_rows for shard in shards]
        return cls(shards, sizes, key=digest("dataset", dataset._fingerprint), root=cache_root())

    def __len__(self) -> int:
        return self.num_rows

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, str]: ...
    def __getitem__(self, key: str | int) -> Column | dict[str, str]:
        """A column by name, or a row by position.

        Raises:
            KeyError: If there is no such column.
            IndexError: If there is no such position.
        """
        if isinstance(key, str):
            return Column(self, key)
        if not -len(self) <= key < len(self):
            raise IndexError(f"row must lie in [0, {len(self) - 1}], got {key}")
        place = range(len(self))[key]
        row = place if self._rows is None else int(self._rows[place])
        shard = int(np.searchsorted(self._first, row, side="right")) - 1
        (found,) = self._shards[shard]().slice(row - self._first[shard], 1).to_pylist()
        return dict(found)

    def select(self, rows: ArrayLike) -> TextSplit:
        """The sentences at these positions.

        Raises:
            DataError: If they do not increase, or lie outside the split.
        """
        chosen = np.asarray(rows, dtype=np.int32)
        if (np.diff(chosen) <= 0).any() or (chosen < 0).any() or (chosen >= len(self)).any():
            raise DataError(f"rows must increase and lie in [0, {len(self) - 1}]")
        kept = chosen if self._rows is None else self._rows[chosen]
        sizes = np.diff(self._first)
        key = digest("select", self.key, hashlib.sha256(chosen.data).hexdigest())
        return TextSplit(self._shards, sizes.tolist(), key=key, root=self.root, rows=kept)

    def tables(self) -> Iterator[pyarrow.Table]:
        """All rows, shard by shard; a shard leaves memory once the next one is asked for."""
        for number, shard in enumerate(self._shards):
            if self._rows is None:
                yield shard()
            else:
                first, end = self._first[number : number + 2]
                start, stop = np.searchsorted(self._rows, [first, end])
                yield shard().take(self._rows[start:stop] - first)


class Column(Sequence[str]):
    """One column of a split: iterates shard by shard; a slice is a list."""

    def __init__(self, split: TextSplit, name: str) -> None:
        if name not in split.column_names:
            raise KeyError(f"no column {name!r}; there are {', '.join(split.column_names)}")
        self._split, self._name = split, name

    def __len__(self) -> int:
        return len(self._split)

    def __iter__(self) -> Iterator[str]:
        for table in self._split.tables():
            yield from table[self._name].to_pylist()

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return list(islice(self, start, stop, step)) if step > 0 else list(self)[key]
        return self._split[key][self._name]


def store_texts(
    parts: Callable[[], Iterable[Part]],
    sentences: Callable[[int, Part], pyarrow.Array],
    *,
    where: str,
    unit: str,
    key: str,
    root: Path,
) -> tuple[TextSplit, int]:
    """Strip every sentence, leave out the empty ones, and store the rest.

    Args:
        parts: Gives what was read, part by part, in the order of the source.
        sentences: The sentences in a part, given the number of rows before it.
        where: The file or data set, for messages.
        unit: What a row is in the source, for messages.
        key: Hash of the source's content.
        root: Directory of the caches.

    Returns:
        A split with the one column `text`, and the number of empty rows left out.

    Raises:
        DataError: If a sentence is missing or contains a reserved token, or if nothing is left.
    """

    def make(first: int, part: Part) -> pyarrow.Table:
        return _cleaned(sentences(first, part), first, where, unit)

    key = digest("texts", CLEANING, key)
    found = stored(root / f"texts-{key}", parts, make, title=f"reading {where}")
    skipped = found.num_read - sum(found.sizes)
    if not sum(found.sizes):
        raise DataError(f"{where} holds no sentences: {skipped} {unit}s, all empty")
    shards = [partial(read_shard, path) for path in found.paths]
    return TextSplit(shards, found.sizes, key=key, root=root), skipped


def _cleaned(texts: pyarrow.Array, first: int, where: str, unit: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = texts.cast(pa.string())
    missing = pc.index(pc.is_null(texts), True).as_py()
    if missing >= 0:
        raise DataError(f"{unit} {first + missing + 1} of {where} has no sentence")
    texts = pc.utf8_trim_whitespace(texts)
    found = pc.index(pc.match_substring_regex(texts, "<(pad|bos|eos)>"), True).as_py()
    if found >= 0:
        raise DataError(
            f"{unit} {first + found + 1} of {where} contains the reserved token "
            f"{find_reserved(texts[found].as_py())}; remove it or write it otherwise"
        )
    return pa.table({"text": texts.filter(pc.not_equal(texts, ""))})
