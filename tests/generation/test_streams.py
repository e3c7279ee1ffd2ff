"""Tests of `textvae.generation.streams`."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textvae.generation.streams import CHOICE, NOISE, TOKEN, normals, uniforms

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
def test_numbers_equal_those_of_plain_integers(
    seed: int, purpose: int, row: int, column: int
) -> None:
    found = uniforms(seed, purpose, torch.tensor([row]), torch.tensor([column]))
    assert found.tolist() == [by_hand(seed, purpose, row, column)]
    # The first number of SplitMix64 with seed 0.
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_a_number_belongs_to_its_place() -> None:
    rows, columns = torch.arange(40), torch.arange(7)
    table = uniforms(3, TOKEN, rows[:, None], columns)
    assert table.shape == (40, 7)
    assert uniforms(3, TOKEN, rows[11:14, None], columns[2:]).equal(table[11:14, 2:])
    assert uniforms(3, TOKEN, torch.tensor([39, 0]), torch.tensor(6)).equal(table[[39, 0], 6])


def test_keys_give_numbers_that_have_nothing_to_do_with_each_other() -> None:
    rows, columns = torch.arange(200), torch.arange(200)
    tables = [
        uniforms(seed, purpose, rows[:, None], columns)
        for seed, purpose in ((0, TOKEN), (1, TOKEN), (0, NOISE), (0, CHOICE), (-1, TOKEN))
    ]
    tables += [tables[0].T, tables[0].roll(1, 0), tables[0].roll(1, 1)]
    correlations = torch.corrcoef(torch.stack([table.flatten() for table in tables]))
    assert (correlations - torch.eye(len(tables)).double()).abs().max() < 5 / 200


@pytest.mark.parametrize("seed", [0, 5])
def test_noise_is_standard_normal(seed: int) -> None:
    noise = normals(seed, torch.arange(20_000)[:, None], torch.arange(4))
    assert (noise.shape, noise.dtype) == ((20_000, 4), torch.float32)
    numbers = uniforms(seed, TOKEN, torch.arange(100_000), torch.tensor(0))
    assert 0 < numbers.min() < numbers.max() < 1
    expected = torch.distributions.Normal(0.0, 1.0)
    for bound in (-2.0, -1.0, 0.0, 0.5, 1.5):
        share = (noise < bound).float().mean(0)
        assert (share - expected.cdf(torch.tensor(bound))).abs().max() < 5 * 0.5 / math.sqrt(20_000)
    assert torch.cov(noise.T).sub(torch.eye(4)).abs().max() < 0.06
