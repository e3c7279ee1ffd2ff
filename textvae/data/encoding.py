"""Sentences as ids, memory-mapped: `encode_split` and what it gives, `EncodedSplit`."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from textvae.data.corpus import DataError
from textvae.data.store import digest, map_shard, stored
from textvae.data.texts import TextSplit
from textvae.tokenizer import Tokenizer, find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

__all__ = ["EncodedSplit", "TooLong", "encode_split"]

TooLong = Literal["cut", "drop"]
"""What becomes of a sentence above the length limit."""

MAPPED_BYTES = 64 * 2**20
"""Files of more than these are not left in this process as they are read, only in the system's
cache: a small corpus is read faster, a large one takes no more memory than a small one."""

RELEASE_EVERY = 32
"""Sentences read before their pages are let go: the system maps up to a megabyte around each."""

ENCODING = 2
"""Counted up when the columns of the cached ids change, so that no old cache is taken."""


class EncodedSplit:
    """The ids of a split's sentences, without special tokens, by position.

    Held as flat columns of ids with offsets into them, taken from Arrow without a copy: a corpus
    larger than memory stays on disk. Lengths and flags are in memory, 5 bytes a sentence.

    Attributes:
        lengths: (sentences,) int32, predicted tokens: ids, and EOS unless truncated.
        truncated: (sentences,) bool, whether the sentence was cut and so has no EOS.
        num_dropped: Sentences left out because they were too long.
    """

    def __init__(
        self,
        shards: Sequence[pyarrow.Table],
        *,
        maps: Sequence[mmap.mmap] = (),
        num_dropped: int = 0,
    ) -> None:
        """Take the columns `ids` (list of int32), `truncated` (uint8) and `row` (int32).

        Args:
            shards: Tables of these columns.
            maps: The files that they lie in, if they do.
            num_dropped: Sentences left out because they were too long.
        """
        lists = [chunk for shard in shards for chunk in shard["ids"].chunks]
        # Not by `to_numpy`, which loads pandas: that is longer than all the rest.
        self._ids: list[NDArray[Any]] = [np.from_dlpack(chunk.values) for chunk in lists]
        self._offsets: list[NDArray[Any]] = [np.from_dlpack(chunk.offsets) for chunk in lists]
        self._first = [0, *accumulate(map(len, lists))]
        self._rows = [shard["row"] for shard in shards]
        truncated = [np.from_dlpack(part) for shard in shards for part in shard["truncated"].chunks]
        self.truncated: NDArray[np.bool_] = np.concatenate(truncated).view(bool)
        self.lengths: NDArray[np.int32] = (~self.truncated).astype(np.int32)
        for first, offsets in zip(self._first, self._offsets, strict=False):
            self.lengths[first : first + len(offsets) - 1] += np.diff(offsets)
        self.num_dropped = num_dropped
        # Not every system can let pages go while it keeps the map.
        is_large = hasattr(mmap, "MADV_DONTNEED") and sum(map(len, maps)) > MAPPED_BYTES
        self._maps = maps if is_large else ()
        self._num_read = 0

    @classmethod
    def from_ids(
        cls, sequences: Sequence[Sequence[int]], *, max_length: int | None = None
    ) -> EncodedSplit:
        """Take ids from memory, cut at `max_length`.

        Raises:
            DataError: If there are no sequences, or `max_length` is below 1.
        """
        if not sequences:
            raise DataError("sequences must hold at least one sentence, got none")
        _check_limit(max_length, "cut")
        return cls([_columns(sequences, 0, max_length, "cut")])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_sentences(self) -> int:
        """Sentences kept."""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Predicted tokens: every id, and one EOS for each sentence that was not cut."""
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def longest(self) -> int:
        """Ids of the longest sentence, EOS not counted."""
        return int((self.lengths - ~self.truncated).max())

    @property
    def rows(self) -> NDArray[np.int32]:
        """(sentences,) int32, position of each sentence in the text split.

        Differs from its position here where sentences were dropped.
        """
        return np.concatenate([rows.to_numpy() for rows in self._rows])

    @property
    def num_truncated(self) -> int:
        """Sentences that were cut."""
        return int(self.truncated.sum())

    def sentence(self, index: int) -> NDArray[np.int32]:
        """Ids of one sentence, without special tokens, as a view.

        Raises:
            IndexError: If there is no such position.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index must lie in [0, {len(self) - 1}], got {index}")
        chunk = bisect_right(self._first, index) - 1
        local = index - self._first[chunk]
        self._num_read += 1
        if self._num_read % RELEASE_EVERY == 0:
            self._release()
        start, stop = self._offsets[chunk][local : local + 2]
        return self._ids[chunk][start:stop]

    def _release(self) -> None:
        """Take the files' pages out of this process; those that are read again come back."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


def encode_split(
    dataset: TextSplit | Dataset,
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    too_long: TooLong = "cut",
) -> EncodedSplit:
    """Encode the sentences of a split, once: later calls find them in the cache.

    Encoding that was broken off goes on where it was.

    Args:
        dataset: A split with a column `text`; its content is the other part of the cache's key.
        tokenizer: Its whole content is part of the cache's key.
        max_length: Longest sentence in ids, EOS not counted; no limit if None.
        too_long: `"cut"` keeps the first `max_length` ids of a longer sentence, without EOS;
            `"drop"` leaves it out.

    Returns:
        The encoded split, with the numbers of sentences cut and dropped.

    Raises:
        DataError: If an argument is out of its range, if a sentence contains a reserved token, or
            if no sentence is left.
    """
    _check_limit(max_length, too_long)
    if dataset.num_rows == 0:
        raise DataError("dataset must hold at least one sentence, got none")
    split = dataset if isinstance(dataset, TextSplit) else TextSplit.from_dataset(dataset)
    key = digest("ids", ENCODING, split.key, tokenizer.fingerprint, max_length, too_long)

    def make(first: int, table: pyarrow.Table) -> pyarrow.Table:
        ids = _encoded(table["text"].to_pylist(), first, tokenizer)
        return _columns(ids, first, max_length, too_long)

    found = stored(
        split.root / f"ids-{key}", split.tables, make, title="tokenising", total=len(split)
    )
    num_dropped = len(split) - sum(found.sizes)
    if num_dropped == len(split):
        raise DataError(
            f"no sentence is left: all {len(split)} are longer than max_length {max_length}"
        )
    shards, maps = zip(*map(map_shard, found.paths), strict=True)
    return EncodedSplit(shards, maps=maps, num_dropped=num_dropped)


def _check_limit(max_length: int | None, too_long: str) -> None:
    if max_length is not None and max_length < 1:
        raise DataError(f"max_length must be at least 1, got {max_length}")
    if too_long not in get_args(TooLong):
        raise DataError(f"too_long must be cut or drop, got {too_long!r}")


def _encoded(texts: list[str], first: int, tokenizer: Tokenizer) -> list[list[int]]:
    if find_reserved("\n".join(texts)) is not None:
        found = ((first + i, find_reserved(text)) for i, text in enumerate(texts, start=1))
        number, reserved = next((i, token) for i, token in found if token is not None)
        raise DataError(f"sentence {number} contains the reserved token {reserved}")
    return tokenizer.encode_batch(texts)


def _columns(
    sequences: Sequence[Sequence[int]],
    first: int,
    max_length: int | None,
    too_long: TooLong,
) -> pyarrow.Table:
    import pyarrow as pa

    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    truncated = np.zeros(len(sequences), dtype=bool)
    kept_rows = np.arange(first, first + len(sequences), dtype=np.int32)
    if max_length is not None:
        long = lengths > max_length
        if too_long == "cut":
            truncated = long
            sequences = [ids[:max_length] for ids in sequences]
        else:
            sequences = [ids for ids, drop in zip(sequences, long, strict=True) if not drop]
            truncated, kept_rows = truncated[~long], kept_rows[~long]
        lengths = np.minimum(lengths, max_length) if too_long == "cut" else lengths[~long]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = np.fromiter(chain.from_iterable(sequences), dtype=np.int32, count=int(offsets[-1]))
    return pa.table(
        {
            "ids": pa.ListArray.from_arrays(offsets, flat),
            "truncated": truncated.view(np.uint8),
            "row": kept_rows,
        }
    )
