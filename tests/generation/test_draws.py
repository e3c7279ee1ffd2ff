"""Tests of `textvae.generation.draws`, against plain Python."""

import itertools
import math
import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.draws import draws as normal_draws
from textvae.config import Decoding
from textvae.generation import draws
from textvae.generation.draws import CHOICE, NOISE, TOKEN, normals, uniforms

# Scores that are all different, so that no order is open to doubt.
EIGHTHS = st.lists(st.integers(-80, 80), min_size=1, max_size=12, unique=True)
SCORES = EIGHTHS.map(lambda row: [value / 8 for value in row])


def probabilities(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


def kept(found: Tensor, scores: list[float]) -> set[int]:
    """The tokens that stay; all others must be −inf and these unchanged."""
    stay = {i for i, value in enumerate(found[0].tolist()) if value != -math.inf}
    assert all(found[0, i] == scores[i] for i in stay)
    return stay


def first_mass(order: list[int], probability: list[float], p: float) -> set[int]:
    """The tokens until `p` is held."""
    before = itertools.accumulate([probability[token] for token in order], initial=0.0)
    return {order[0], *(token for token, held in zip(order, before, strict=False) if held < p)}


@given(SCORES, st.floats(0.05, 20))
def test_temperature_is_that_of_the_distribution(scores, value):
    found = draws.temperature(torch.tensor([scores]), value).softmax(-1)
    expected = probabilities([score / value for score in scores])
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    extreme = draws.temperature(torch.tensor([[3e4, -1e3, -math.inf]]), 1e-30)
    assert extreme.softmax(-1).tolist() == [[1, 0, 0]]


@given(SCORES, st.integers(1, 14))
def test_top_k(scores, k):
    expected = sorted(range(len(scores)), key=lambda i: -scores[i])[:k]
    assert kept(draws.top_k(torch.tensor([scores]), k), scores) == set(expected)
    assert draws.top_k(torch.zeros(3, 14), k).isfinite().sum(-1).tolist() == [k] * 3


@pytest.mark.parametrize("function", [draws.top_p, draws.typical])
@given(scores=SCORES, p=st.floats(0.001, 1))
def test_filters_by_mass(function, scores, p):
    probability = probabilities(scores)
    surprise = [-math.log(x) for x in probability]
    if function is draws.typical:
        entropy = math.fsum(map(operator.mul, probability, surprise))
        surprise = [abs(each - entropy) for each in surprise]
    order = sorted(range(len(scores)), key=surprise.__getitem__)
    # Two tokens as far from the entropy on either side may come in either order.
    if any(surprise[b] - surprise[a] < 1e-4 for a, b in itertools.pairwise(order)):
        return
    found = kept(function(torch.tensor([scores]), p), scores)
    if p < 1 - 1e-5:  # rounding may give either
        assert found in [first_mass(order, probability, target) for target in (p - 1e-5, p + 1e-5)]


@pytest.mark.parametrize("function", [draws.top_p, draws.typical])
def test_all_of_the_probability_keeps_all(function):
    scores = torch.tensor([[0.0, -30.0, -200.0]])
    assert function(scores, 1.0).equal(scores)
    scores = torch.tensor([[-math.inf, 0.0, -1.0, -math.inf]])
    assert function(scores, 0.99).isfinite().tolist() == [[False, True, True, False]]


def test_a_draw_is_below_its_share_and_has_a_probability():
    p = torch.tensor([[0.0, 0.5, 0.25, 0.25, 0.0]]).expand(6, -1)
    shares = torch.tensor([2**-49, 0.4, 0.5, 0.7, 0.75, 1 - 2**-49], dtype=torch.float64)
    found = draws.draw(p.log(), p, shares, Decoding(strategy="sample"))
    assert found.tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("function", "value"),
    [(draws.temperature, 0.7), (draws.top_k, 3), (draws.top_p, 0.6), (draws.typical, 0.6)],
)
def test_rows_do_not_touch_each_other(function, value):
    scores = normal_draws(6, 9)
    alone = torch.cat([function(row[None], value) for row in scores])
    torch.testing.assert_close(function(scores, value), alone)


MASK = 2**64 - 1


def mixed(key: int) -> int:
    """SplitMix64's output function as its authors' C has it, on Python's integers."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & MASK
    return key ^ (key >> 31)


def by_hand(seed: int, purpose: int, row: int, column: int) -> float:
    key = seed & MASK
    for part in (purpose, row, column):
        key = mixed((key + 0x9E3779B97F4A7C15 * (part + 1)) & MASK)
    return ((key >> 16) + 0.5) / 2**48


@given(
    st.integers(-(2**70), 2**70),
    st.sampled_from([TOKEN, NOISE, CHOICE]),
    st.integers(0, 2**40),
    st.integers(0, 2**20),
)
def test_numbers_equal_those_of_plain_integers(seed, purpose, row, column):
    found = uniforms(seed, purpose, torch.tensor([row]), torch.tensor([column]))
    assert found.tolist() == [by_hand(seed, purpose, row, column)]
    # The first number of SplitMix64 with seed 0.
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_keys_give_numbers_that_have_nothing_to_do_with_each_other():
    rows, columns = torch.arange(200), torch.arange(200)
    keys = (0, TOKEN), (1, TOKEN), (0, NOISE), (0, CHOICE), (-1, TOKEN)
    tables = [uniforms(seed, purpose, rows[:, None], columns) for seed, purpose in keys]
    tables += [tables[0].T, tables[0].roll(1, 0), tables[0].roll(1, 1)]
    correlations = torch.corrcoef(torch.stack([table.flatten() for table in tables]))
    assert (correlations - torch.eye(len(tables)).double()).abs().max() < 5 / 200


@pytest.mark.parametrize("seed", [0, 5])
def test_noise_is_standard_normal(seed):
    noise = normals(seed, torch.arange(20_000)[:, None], torch.arange(4))
    assert (noise.shape, noise.dtype) == ((20_000, 4), torch.float32)
    numbers = uniforms(seed, TOKEN, torch.arange(100_000), torch.tensor(0))
    assert 0 < numbers.min() < numbers.max() < 1
    expected = torch.distributions.Normal(0.0, 1.0)
    for bound in (-2.0, -1.0, 0.0, 0.5, 1.5):
        share = (noise < bound).float().mean(0)
        assert (share - expected.cdf(torch.tensor(bound))).abs().max() < 5 * 0.5 / math.sqrt(20_000)
    assert torch.cov(noise.T).sub(torch.eye(4)).abs().max() < 0.06
