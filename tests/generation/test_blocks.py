"""Blocks find what a search through everything finds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textvae.generation.blocks import drawn, largest

SIZES = [1, 5, 1023, 1024, 1025, 2500, 10_007]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [1, 5, 40])
def test_largest_is_topk(size: int, k: int) -> None:
    scores = torch.randn(7, size, generator=torch.Generator().manual_seed(size))
    k = min(k, size)
    values, columns = largest(scores, k)
    assert torch.equal(values, scores.topk(k).values)
    assert torch.equal(columns, scores.topk(k).indices)


def test_largest_within_the_short_last_block() -> None:
    scores = torch.zeros(1, 2503)
    scores[0, -3:] = torch.tensor([1.0, 3.0, 2.0])
    values, columns = largest(scores, 3)
    assert values.tolist() == [[3, 2, 1]]
    assert columns.tolist() == [[2501, 2502, 2500]]


def test_largest_where_next_to_nothing_may_come() -> None:
    scores = torch.full((2, 2503), -torch.inf)
    scores[:, 2502] = -5.0
    values, columns = largest(scores, 2)
    assert values[:, 0].tolist() == [-5, -5]
    assert columns[:, 0].tolist() == [2502, 2502]
    assert (values[:, 1] == -torch.inf).all()
    assert (columns < 2503).all()


@pytest.mark.parametrize("size", SIZES)
def test_drawn_is_a_search_in_the_running_sum(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    probabilities = torch.rand(500, size, generator=generator, dtype=torch.float64)
    shares = torch.rand(500, generator=generator, dtype=torch.float64)
    mass = probabilities.cumsum(-1)
    expected = torch.searchsorted(mass, (shares * mass[:, -1])[:, None])[:, 0]
    assert torch.equal(drawn(probabilities, shares), expected)


@given(st.integers(0, 2**32), st.integers(2, 3000), st.floats(1e-12, 1 - 1e-12))
def test_drawn_has_a_probability(seed: int, size: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(1, size, generator=generator)
    probabilities[torch.rand(1, size, generator=generator) < 0.9] = 0
    probabilities[0, int(torch.randint(size, (1,), generator=generator))] = 1e-20
    column = drawn(probabilities, torch.tensor([share], dtype=torch.float64))
    assert probabilities[0, column] > 0
