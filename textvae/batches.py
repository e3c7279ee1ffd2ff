"""Sentences → ids → batches of like length, in an order that only seed and epoch decide.

Shapes: B sentences, T tokens of the longest sentence in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from textvae.checks import InputError, at_least, integer, one_of
from textvae.corpus import DataError, mapped
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, Tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

TooLong = Literal["cut", "drop"]  # what becomes of a sentence above the length limit


class Batch(NamedTuple):
    """Sentences of like length, padded to the longest of them; tensors of int64.

    The decoder reads `input_ids[:, t]` and predicts `target_ids[:, t]`.
    """

    input_ids: Tensor  # (B, T), starts with BOS
    target_ids: Tensor  # (B, T), ends with EOS unless the sentence was truncated
    lengths: Tensor  # (B,), predicted tokens of each sentence (EOS counted, BOS and PAD not)
    indices: Tensor  # (B,), position of each sentence in its split
    labels: Tensor  # (B, F), numbers of the labels that a model is told; F is 0 without

    @property
    def num_sentences(self) -> int:
        """Sentences in the batch, B."""
        return self.input_ids.shape[0]

    @property
    def num_tokens(self) -> int:
        """Predicted tokens in the batch (waits for the device if the batch lies on one)."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with all tensors on `device`."""
        return Batch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


def collate(
    sequences: Sequence[Sequence[int] | NDArray[np.integer]],
    indices: Sequence[int] | NDArray[np.integer] | None = None,
    *,
    truncated: Sequence[bool] | NDArray[np.bool_] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Batch:
    """Build a batch, on the CPU, from B sentences' ids without special tokens.

    A sentence without ids is predicted as EOS alone; those `truncated` get no EOS, so that no false
    end is learned. `indices` are positions in the split, 0 … B-1 by default, `labels` those of a
    `Batch`.
    """
    size = len(sequences)
    if size == 0:
        raise InputError("sequences must hold at least one sentence, got 0")
    positions = np.arange(size) if indices is None else np.array(indices, dtype=np.int64)
    cut = np.zeros(size, dtype=bool) if truncated is None else np.asarray(truncated, dtype=bool)
    for name, values in (("indices", positions), ("truncated", cut)):
        if values.shape != (size,):
            raise InputError(
                f"{name} must have one entry for each of {size} sentences, got shape {values.shape}"
            )
    num_ids = np.fromiter(map(len, sequences), dtype=np.int64, count=size)
    lengths = num_ids + ~cut
    if not lengths.all():
        raise InputError(f"truncated sentences must have ids, number {lengths.argmin()} has none")
    place = np.arange(lengths.max())
    target_ids = np.full((size, len(place)), PAD_ID, dtype=np.int64)  # (B, T)
    target_ids[place < num_ids[:, None]] = np.concatenate(sequences)
    target_ids[~cut, num_ids[~cut]] = EOS_ID
    input_ids = np.full_like(target_ids, BOS_ID)
    input_ids[:, 1:] = target_ids[:, :-1]
    # The last id or EOS of a sentence is predicted but never read.
    input_ids[place >= lengths[:, None]] = PAD_ID
    told = np.zeros((size, 0), np.int64) if labels is None else labels
    return Batch(*map(torch.from_numpy, (input_ids, target_ids, lengths, positions, told)))


class EncodedSplit:
    """The ids of a split's sentences, without special tokens, by position.

    They stay in Arrow's columns, on disk for a large corpus; 5 bytes a sentence are in memory.
    """

    def __init__(self, table: pa.Table, *, num_dropped: int = 0) -> None:
        """Take the columns `ids` (lists of integers), `truncated` (bool) and `row` (int32)."""
        self._ids, self._rows = table["ids"], table["row"]
        num_ids: NDArray[np.int32] = pc.list_value_length(self._ids).to_numpy()
        # (sentences,): whether one was cut and so has no EOS; its predicted tokens, EOS among them
        self.truncated: NDArray[np.bool_] = table["truncated"].to_numpy()
        self.lengths: NDArray[np.int32] = num_ids + ~self.truncated
        self.num_sentences = len(num_ids)
        self.num_truncated = int(self.truncated.sum())
        self.num_dropped = num_dropped  # for their length
        self.num_tokens = int(self.lengths.sum(dtype=np.int64))  # predicted ones
        self.longest = int(num_ids.max())  # ids, EOS not counted
        self.labels = np.zeros((len(num_ids), 0), np.int64)  # (sentences, F), set by who knows them

    @classmethod
    def from_ids(
        cls, sequences: Sequence[Sequence[int]], *, max_length: int | None = None
    ) -> EncodedSplit:
        """Take ids from memory, cut at `max_length`."""
        if not sequences:
            raise InputError("sequences must hold at least one sentence, got none")
        at_least(1, max_length=max_length)
        return cls(_columns(sequences, range(len(sequences)), pa.int32(), max_length))

    def __len__(self) -> int:
        return self.num_sentences

    @property
    def rows(self) -> NDArray[np.int32]:
        """(sentences,) int32, positions in the text split: others than here where some dropped."""
        rows: NDArray[np.int32] = self._rows.to_numpy()
        return rows

    def sentence(self, index: int) -> NDArray[np.integer]:
        """Ids of one sentence, without special tokens, as a view."""
        ids: NDArray[np.integer] = self._ids[index].values.to_numpy()
        return ids


def encode_split(
    dataset: Dataset,
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    too_long: TooLong = "cut",
) -> EncodedSplit:
    """Encode the column `text` of a corpus' split, or of a data set of your own.

    `datasets` finds what it encoded before. Of a sentence of more than `max_length` ids, EOS not
    counted, `"cut"` keeps the first ones, without EOS; `"drop"` leaves it out.
    """
    at_least(1, max_length=max_length)
    one_of("too_long", too_long, get_args(TooLong))
    options = {"tokenizer": tokenizer, "max_length": max_length, "too_long": too_long}
    encoded = mapped(dataset.select_columns("text"), _encoded, "tokenising", **options)
    if not len(encoded):
        raise DataError(f"no sentence is left of {len(dataset)}, with max_length {max_length}")
    return EncodedSplit(encoded.data, num_dropped=len(dataset) - len(encoded))


def _encoded(table: pa.Table, rows: list[int], tokenizer: Tokenizer, **limits: Any) -> pa.Table:
    # Half the file, and half the pages of it in memory, for vocabularies of a usual size.
    dtype = pa.uint16() if tokenizer.vocab_size <= 2**16 else pa.int32()
    ids = tokenizer.encode_batch(table["text"].to_pylist())
    return _columns(ids, rows, dtype, **limits)


def _columns(
    sequences: Sequence[Sequence[int]],
    rows: Sequence[int],
    dtype: pa.DataType,
    max_length: int | None,
    too_long: TooLong = "cut",
) -> pa.Table:
    ids = pa.array(sequences, pa.list_(dtype))
    is_long = pc.greater(pc.list_value_length(ids), max_length or 2**31 - 1)
    columns = {"ids": ids, "truncated": is_long, "row": pa.array(rows, pa.int32())}
    if too_long == "drop":
        return pa.table(columns).filter(pc.invert(is_long))
    return pa.table({**columns, "ids": pc.list_slice(ids, 0, max_length)})


class BatchLoader:
    """Every sentence of a split once an epoch, in batches of like length.

    Sentences are sorted by length, those of equal length in an order drawn for the epoch, and
    cut into batches: next to no padding, and the cuts fall at the same places in every epoch, so
    that each has the same number of batches. Then the batches are shuffled.

    Args:
        split: The sentences.
        batch_size: Most sentences in a batch; no limit if None.
        max_tokens: Most tokens in a batch, padding counted; no limit if None.
        shuffle: Whether each epoch has an order of its own; else batches come from short to long
            sentences, always the same.
        seed: Decides, with the number of the epoch, its order.
    """

    def __init__(
        self,
        split: EncodedSplit,
        *,
        batch_size: int | None = 32,
        max_tokens: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if batch_size is None and max_tokens is None:
            raise InputError("batch_size or max_tokens must be given, got None for both")
        at_least(1, batch_size=batch_size)
        longest = int(split.lengths.max())
        at_least(longest, **{"max_tokens, for the longest sentence,": max_tokens})
        self.split, self.shuffle, self.seed = split, shuffle, seed
        self.num_sentences, self.num_tokens = split.num_sentences, split.num_tokens
        self._bounds = _bounds(np.sort(split.lengths), batch_size, max_tokens)

    def __len__(self) -> int:
        """Batches in an epoch, the same for every epoch."""
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[Batch]:
        """Epoch 0, for loops that need no other."""
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0; from batch `start` on, to go on in its middle."""
        integer("start", start, 0, len(self))
        return map(self.batch, self.plan(number)[start:])

    def plan(self, number: int) -> list[NDArray[np.int32]]:
        """Positions in the split of every batch's sentences, in the order of epoch `number`."""
        at_least(0, number=number)
        # Half the memory of `permutation(len(split))`, and the same order.
        order = np.arange(len(self.split), dtype=np.int32)
        batches = np.arange(len(self), dtype=np.int32)
        if self.shuffle:
            random = np.random.default_rng([self.seed, number])
            order, batches = random.permutation(order), random.permutation(batches)
        order = order[np.argsort(self.split.lengths[order], kind="stable")]
        return [order[self._bounds[i] : self._bounds[i + 1]] for i in batches.tolist()]

    def batch(self, indices: NDArray[np.int32]) -> Batch:
        """The batch of the sentences at these positions in the split."""
        sentences = [self.split.sentence(index) for index in indices.tolist()]
        truncated, labels = self.split.truncated[indices], self.split.labels[indices]
        return collate(sentences, indices, truncated=truncated, labels=labels)


def _bounds(
    lengths: NDArray[np.int32], batch_size: int | None, max_tokens: int | None
) -> list[int]:
    """Where to cut sorted lengths so that each part is as large as the limits allow."""
    bounds, start, total = [0], 0, len(lengths)
    while start < total:
        room = total - start if batch_size is None else min(batch_size, total - start)
        if max_tokens is not None:
            # No sentence to come is shorter than the first one.
            room = min(room, max_tokens // int(lengths[start]))
            padded = lengths[start : start + room] * np.arange(1, room + 1)
            room = int(np.searchsorted(padded, max_tokens, side="right"))
        start += room
        bounds.append(start)
    return bounds
