"""Tests of `textvae.generation.filters`, against plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from textvae.generation import filters

# Scores that are all different, so that no order is open to doubt.
SCORES = st.lists(st.integers(-80, 80), min_size=1, max_size=12, unique=True).map(
    lambda row: [value / 8 for value in row]
)


def probabilities(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


def kept(found: Tensor, scores: list[float]) -> set[int]:
    """The tokens that stay; all others must be −inf and these unchanged."""
    stay = {i for i, value in enumerate(found[0].tolist()) if value != -math.inf}
    assert all(found[0, i] == scores[i] for i in stay)
    return stay


def first_mass(order: list[int], probability: list[float], p: float) -> list[set[int]]:
    """Every answer that rounding may give: the tokens until `p` is held."""
    answers = []
    for target in (p - 1e-5, p + 1e-5):
        held, stay = 0.0, set()
        for token in order:
            if stay and held >= target:
                break
            stay.add(token)
            held += probability[token]
        answers.append(stay)
    return answers


@given(SCORES, st.floats(0.05, 20))
def test_temperature_is_that_of_the_distribution(scores: list[float], value: float) -> None:
    found = filters.temperature(torch.tensor([scores]), value).softmax(-1)
    expected = probabilities([score / value for score in scores])
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    extreme = filters.temperature(torch.tensor([[3e4, -1e3, -math.inf]]), 1e-30)
    assert extreme.softmax(-1).tolist() == [[1, 0, 0]]


@given(SCORES, st.integers(1, 14))
def test_top_k(scores: list[float], k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: -scores[i])[:k]
    assert kept(filters.top_k(torch.tensor([scores]), k), scores) == set(expected)
    assert filters.top_k(torch.zeros(3, 14), k).isfinite().sum(-1).tolist() == [k] * 3


@given(SCORES, st.floats(0.001, 1))
def test_top_p(scores: list[float], p: float) -> None:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    found = kept(filters.top_p(torch.tensor([scores]), p), scores)
    if p < 1 - 1e-5:
        assert found in first_mass(order, probabilities(scores), p)


@given(SCORES, st.floats(0.001, 1))
def test_typical(scores: list[float], p: float) -> None:
    probability = probabilities(scores)
    entropy = -math.fsum(x * math.log(x) for x in probability)
    far = [abs(-math.log(x) - entropy) for x in probability]
    order = sorted(range(len(scores)), key=lambda i: far[i])
    # Two tokens as far from the entropy on either side may come in either order.
    if any(far[b] - far[a] < 1e-4 for a, b in pairwise(order)):
        return
    found = kept(filters.typical(torch.tensor([scores]), p), scores)
    if p < 1 - 1e-5:
        assert found in first_mass(order, probability, p)


@pytest.mark.parametrize("function", [filters.top_p, filters.typical])
def test_all_of_the_probability_keeps_all(function: Callable[[Tensor, float], Tensor]) -> None:
    scores = torch.tensor([[0.0, -30.0, -200.0]])
    assert function(scores, 1.0).equal(scores)
    scores = torch.tensor([[-math.inf, 0.0, -1.0, -math.inf]])
    assert function(scores, 0.99).isfinite().tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("function", "value"),
    [(filters.temperature, 0.7), (filters.top_k, 3), (filters.top_p, 0.6), (filters.typical, 0.6)],
)
def test_rows_do_not_touch_each_other(
    function: Callable[[Tensor, float], Tensor], value: float
) -> None:
    scores = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([function(row[None], value) for row in scores])
    torch.testing.assert_close(function(scores, value), alone)
