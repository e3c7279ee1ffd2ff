"""`shares`: the rows of each batch that are this process's, as a `Share`.

A batch is the optimizer's, whatever the number of processes: process r of W takes rows r, r + W, …
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from textvae.batches import Batch, BatchLoader
from textvae.runtime import Processes

__all__ = ["Share", "shares"]


class Share(NamedTuple):
    """One process's rows of a batch.

    Attributes:
        batch: The rows; where none are left for this process, the batch's first as a stand-in,
            for every process takes part in every step.
        num_own: How many of them count: all, or 0 of a stand-in.
        num_sentences: Sentences of the whole batch, B.
        num_tokens: Predicted tokens of the whole batch.
    """

    batch: Batch
    num_own: int
    num_sentences: int
    num_tokens: int


def shares(loader: BatchLoader, epoch: int, start: int, processes: Processes) -> Iterator[Share]:
    """This process's share of each batch of an epoch.

    Args:
        loader: The batches.
        epoch: Which epoch, from 0.
        start: First batch, as for `BatchLoader.epoch`.
        processes: Who shares.

    Yields:
        A share for every batch, in the same order in all processes.
    """
    for rows in loader.plan(epoch)[start:]:
        # Cut before they are read: reading all rows in every process can take longer than a step.
        own = rows[processes.rank :: processes.world]
        yield Share(
            loader.batch(own if len(own) else rows[:1]),
            len(own),
            len(rows),
            int(loader.split.lengths[rows].sum()),
        )
