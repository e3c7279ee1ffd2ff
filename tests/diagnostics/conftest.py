"""Eight sentences, cut into batches in any way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.diagnostics.models import SENTENCES, TRUNCATED
from textvae.batches import Batch


@pytest.fixture
def batches(make_batch: Callable[..., Batch]) -> Callable[..., list[Batch]]:
    """Cuts `SENTENCES`, by position, into batches; all in one if not told how."""

    def cut(positions: Sequence[Sequence[int]] = (range(8),)) -> list[Batch]:
        return [
            make_batch(
                [SENTENCES[i] for i in rows], indices=rows, truncated=[TRUNCATED[i] for i in rows]
            )
            for rows in positions
        ]

    return cut


CUTS = (
    [[7, 6, 5, 4, 3, 2, 1, 0]],
    [[i] for i in range(8)],
    [[2, 6], [3], [0, 1, 7], [4, 5]],  # a last partial batch among them
)
"""Ways to cut the eight, with which no result may change."""


@pytest.fixture(params=range(len(CUTS)))
def cut(request: pytest.FixtureRequest) -> list[list[int]]:
    """One of `CUTS`."""
    return CUTS[request.param]
