"""Sentences as ids, memory-mapped: `encode_split` and what it gives, `EncodedSplit`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from textvae.data.corpus import DataError, quietly
from textvae.tokenizer import Tokenizer, find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

__all__ = ["EncodedSplit", "TooLong", "encode_split"]

TooLong = Literal["cut", "drop"]
"""What becomes of a sentence above the length limit."""

ENCODING = 1
"""Counted up when the columns of the cached ids change, so that no old cache is taken."""


class EncodedSplit:
    """The ids of a split's sentences, without special tokens, by position.

    Held as flat columns of ids with offsets into them, taken from Arrow without a copy: a corpus
    larger than memory stays on disk. Lengths and flags are in memory, about 20 bytes a sentence.

    Attributes:
        lengths: (sentences,) int64, predicted tokens: ids, and EOS unless truncated.
        truncated: (sentences,) bool, whether the sentence was cut and so has no EOS.
        rows: (sentences,) int64, position of each sentence in the text split; differs from its
            position here where sentences were dropped.
        num_dropped: Sentences left out because they were too long.
    """

    def __init__(self, columns: pyarrow.Table, *, num_dropped: int = 0) -> None:
        """Take the columns `ids` (list of int32), `truncated` (bool) and `row` (int64)."""
        self._ids: list[NDArray[np.int32]] = []
        self._offsets: list[NDArray[np.int32]] = []
        for chunk in columns["ids"].chunks:
            self._ids.append(chunk.values.to_numpy())
            self._offsets.append(chunk.offsets.to_numpy())
        sizes = [len(offsets) - 1 for offsets in self._offsets]
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        self.truncated: NDArray[np.bool_] = columns["truncated"].to_numpy()
        self.rows: NDArray[np.int64] = columns["row"].to_numpy()
        ids_per_sentence = np.concatenate([np.diff(offsets) for offsets in self._offsets])
        self.lengths: NDArray[np.int64] = ids_per_sentence.astype(np.int64) + ~self.truncated
        self.num_dropped = num_dropped

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
        return cls(_columns(sequences, range(len(sequences)), max_length, "cut"))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_sentences(self) -> int:
        """Sentences kept."""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Predicted tokens: every id, and one EOS for each sentence that was not cut."""
        return int(self.lengths.sum())

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
        chunk = int(np.searchsorted(self._first, index, side="right")) - 1
        local = index - self._first[chunk]
        start, stop = self._offsets[chunk][local : local + 2]
        return self._ids[chunk][start:stop]


def encode_split(
    dataset: Dataset,
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    too_long: TooLong = "cut",
) -> EncodedSplit:
    """Encode the sentences of a split, once: later calls find them in the cache.

    Args:
        dataset: A split with a column `text`.
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
    with quietly():
        encoded = (
            dataset.select_columns("text")
            .with_format("arrow")
            .map(
                _encode_rows,
                batched=True,
                batch_size=10_000,
                writer_batch_size=10_000,
                with_indices=True,
                remove_columns=["text"],
                fn_kwargs={
                    "tokenizer": tokenizer,
                    "max_length": max_length,
                    "too_long": too_long,
                    "version": ENCODING,
                },
            )
        )
    if encoded.num_rows == 0:
        raise DataError(
            f"no sentence is left: all {dataset.num_rows} are longer than max_length {max_length}"
        )
    return EncodedSplit(encoded.data, num_dropped=dataset.num_rows - encoded.num_rows)


def _check_limit(max_length: int | None, too_long: str) -> None:
    if max_length is not None and max_length < 1:
        raise DataError(f"max_length must be at least 1, got {max_length}")
    if too_long not in get_args(TooLong):
        raise DataError(f"too_long must be cut or drop, got {too_long!r}")


def _encode_rows(
    table: pyarrow.Table,
    rows: list[int],
    tokenizer: Tokenizer,
    max_length: int | None,
    too_long: TooLong,
    version: int,
) -> Any:
    texts = table["text"].to_pylist()
    for row, text in zip(rows, texts, strict=True):
        reserved = find_reserved(text)
        if reserved is not None:
            raise DataError(f"sentence {row + 1} contains the reserved token {reserved}")
    return _columns(tokenizer.encode_batch(texts), rows, max_length, too_long)


def _columns(
    sequences: Sequence[Sequence[int]],
    rows: Sequence[int],
    max_length: int | None,
    too_long: TooLong,
) -> pyarrow.Table:
    import pyarrow as pa

    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    truncated = np.zeros(len(sequences), dtype=bool)
    kept_rows = np.asarray(rows, dtype=np.int64)
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
            "truncated": truncated,
            "row": kept_rows,
        }
    )
