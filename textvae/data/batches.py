"""Batches of like length in an order that only seed and epoch decide: `BatchLoader`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from textvae.batch import Batch, collate
from textvae.data.corpus import DataError
from textvae.data.encoding import EncodedSplit
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

__all__ = ["BatchLoader"]

BLOCK = 2**17
"""Sentences sorted at once."""


class BatchLoader:
    """Every sentence of a split once an epoch, in batches of like length.

    Sentences are sorted by length, those of equal length in an order drawn for the epoch, and
    cut into batches: next to no padding, and the cuts fall at the same places in every epoch, so
    that each has the same number of batches. Then the batches are shuffled.
    """

    def __init__(
        self,
        split: EncodedSplit,
        *,
        batch_size: int | None = 32,
        max_tokens: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        bos_id: int = BOS_ID,
        eos_id: int = EOS_ID,
        pad_id: int = PAD_ID,
    ) -> None:
        """Plan the batches.

        Args:
            split: The sentences.
            batch_size: Most sentences in a batch; no limit if None.
            max_tokens: Most tokens in a batch, padding counted; no limit if None.
            shuffle: Whether each epoch has an order of its own; else batches come from short to
                long sentences, always the same.
            seed: Decides, with the number of the epoch, its order.
            bos_id: Id put before every sentence.
            eos_id: Id put after every sentence that is not truncated.
            pad_id: Id that fills up to the longest sentence.

        Raises:
            DataError: If neither or a non-positive limit is given, or a sentence alone is above
                `max_tokens`.
        """
        if batch_size is None and max_tokens is None:
            raise DataError("batch_size or max_tokens must be given, got None for both")
        for name, limit in (("batch_size", batch_size), ("max_tokens", max_tokens)):
            if limit is not None and limit < 1:
                raise DataError(f"{name} must be at least 1, got {limit}")
        longest = int(split.lengths.max())
        if max_tokens is not None and longest > max_tokens:
            raise DataError(
                f"max_tokens must be at least {longest}, the longest sentence (number "
                f"{int(split.lengths.argmax())} of the split), got {max_tokens}"
            )
        self.split = split
        self.shuffle = shuffle
        self.seed = seed
        self._special = {"bos_id": bos_id, "eos_id": eos_id, "pad_id": pad_id}
        cuts = _cuts(np.sort(split.lengths), batch_size, max_tokens)
        self._bounds = np.array([0, *cuts, len(split)])

    def __len__(self) -> int:
        """Batches in an epoch, the same for every epoch."""
        return len(self._bounds) - 1

    @property
    def num_sentences(self) -> int:
        """Sentences in an epoch."""
        return self.split.num_sentences

    @property
    def num_tokens(self) -> int:
        """Predicted tokens in an epoch."""
        return self.split.num_tokens

    def __iter__(self) -> Iterator[Batch]:
        """Epoch 0, for loops that need no other."""
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            number: Which epoch, from 0; with the seed it decides the order.
            start: First batch to give: to go on in the middle of an epoch.

        Yields:
            Batches `start` … `len(self) - 1`.

        Raises:
            DataError: If `number` is negative or `start` is not in [0, len(self)].
        """
        if not 0 <= start <= len(self):
            raise DataError(f"start must lie in [0, {len(self)}], got {start}")
        return map(self.batch, self.plan(number)[start:])

    def plan(self, number: int) -> Plan:
        """Positions in the split of every batch's sentences, in the order of epoch `number`."""
        if number < 0:
            raise DataError(f"number must be at least 0, got {number}")
        # Half the memory of `permutation(len(split))`, and the same order.
        order = np.arange(len(self.split), dtype=np.int32)
        batches = np.arange(len(self), dtype=np.int32)
        if self.shuffle:
            random = np.random.default_rng([self.seed, number])
            order, batches = random.permutation(order), random.permutation(batches)
        return Plan(_by_length(order, self.split.lengths), self._bounds, batches)

    def batch(self, indices: NDArray[np.int32]) -> Batch:
        """The batch of the sentences at these positions in the split."""
        return collate(
            [self.split.sentence(index) for index in indices.tolist()],
            indices,
            truncated=self.split.truncated[indices],
            **self._special,
        )


class Plan(Sequence[NDArray[np.int32]]):
    """Positions of every batch's sentences, cut out of one array when they are asked for."""

    def __init__(
        self, order: NDArray[np.int32], bounds: NDArray[np.int64], batches: NDArray[np.int32]
    ) -> None:
        """Take all positions in a row, where each batch begins and ends, and which to give."""
        self._order, self._bounds, self._batches = order, bounds, batches

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, key: int) -> NDArray[np.int32]: ...
    @overload
    def __getitem__(self, key: slice) -> Plan: ...
    def __getitem__(self, key: int | slice) -> NDArray[np.int32] | Plan:
        if isinstance(key, slice):
            return Plan(self._order, self._bounds, self._batches[key])
        batch = self._batches[key]
        return self._order[self._bounds[batch] : self._bounds[batch + 1]]


def _by_length(order: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """`order[argsort(lengths[order], kind="stable")]`, which would take 28 bytes a sentence.

    A counting sort: of each length there is a place for the next sentence.
    """
    counts = np.zeros(int(lengths.max()) + 1, dtype=np.int64)
    blocks = [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]
    for block in blocks:
        counts += np.bincount(lengths[block], minlength=len(counts))
    place = counts.cumsum() - counts
    ordered = np.empty_like(order)
    for block in blocks:
        by_length = np.argsort(lengths[block], kind="stable")
        of_length = lengths[block][by_length]
        # How many of the block's sentences of the same length come before.
        rank = np.arange(len(block)) - np.searchsorted(of_length, of_length)
        ordered[place[of_length] + rank] = block[by_length]
        place += np.bincount(of_length, minlength=len(counts))
    return ordered


def _cuts(lengths: NDArray[np.int32], batch_size: int | None, max_tokens: int | None) -> list[int]:
    """Where to cut sorted lengths so that each part is as large as the limits allow."""
    cuts: list[int] = []
    start, total = 0, len(lengths)
    while True:
        room = total - start if batch_size is None else min(batch_size, total - start)
        if max_tokens is not None:
            # No sentence to come is shorter than the first one.
            room = min(room, max_tokens // int(lengths[start]))
            padded = lengths[start : start + room] * np.arange(1, room + 1)
            room = int(np.searchsorted(padded, max_tokens, side="right"))
        start += room
        if start >= total:
            return cuts
        cuts.append(start)
