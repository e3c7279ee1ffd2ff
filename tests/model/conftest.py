"""A batch of sentences of unlike length, and what may be done to it without an effect."""

import pytest
import torch

from textvae.batches import Batch, collate

SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5]]
TRUNCATED = [False, False, False, True, False]


@pytest.fixture
def batch() -> Batch:
    return collate(SENTENCES, truncated=TRUNCATED)


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    return Batch(*(tensor[rows] for tensor in batch))


def widened(batch: Batch) -> Batch:
    """With twice the columns, of padding."""
    more = torch.zeros_like(batch.input_ids)
    return batch._replace(
        input_ids=torch.cat([batch.input_ids, more], 1),
        target_ids=torch.cat([batch.target_ids, more], 1),
    )
