"""Tests of `textvae.losses.free_bits`."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.config import TrainingConfig
from textvae.losses import FREE_BITS, free_bits_per_dimension

few = settings(max_examples=40)


KL_TABLE = torch.tensor(
    [
        # dimension 0: both under, 1: both over, 2: one over, mean over, 3: one over, mean under
        [0.1, 2.0, 3.0, 0.6],
        [0.3, 4.0, 0.2, 0.2],
    ]
)


@pytest.mark.parametrize(
    ("floor", "value", "through"),
    [
        (0.0, 0.2 + 3.0 + 1.6 + 0.4, [1, 1, 1, 1]),  # no floor: the plain KL
        (0.3, 0.3 + 3.0 + 1.6 + 0.4, [0, 1, 1, 1]),  # the lowest dimension costs the floor
        (0.5, 0.5 + 3.0 + 1.6 + 0.5, [0, 1, 1, 0]),  # 0.6 in one sentence does not save its mean
        (1.0, 1.0 + 3.0 + 1.6 + 1.0, [0, 1, 1, 0]),  # 0.2 in one sentence does not sink its mean
        (9.0, 4 * 9.0, [0, 0, 0, 0]),  # all under: a constant, nothing is pushed to the prior
    ],
)
def test_free_bits_by_hand(floor: float, value: float, through: list[int]) -> None:
    kl = KL_TABLE.clone().requires_grad_()
    total = free_bits_per_dimension(kl, floor)
    total.backward()
    assert total.item() == pytest.approx(value)
    assert kl.grad is not None
    assert kl.grad.tolist() == [[x / 2 for x in through]] * 2  # mean over two sentences


def test_free_bits_on_the_batch_mean_are_neither_per_sentence_nor_total() -> None:
    value = free_bits_per_dimension(KL_TABLE, 0.5).item()
    per_sentence = KL_TABLE.clamp_min(0.5).sum(1).mean().item()
    total = KL_TABLE.sum(1).mean().clamp_min(0.5 * 4).item()
    assert abs(value - per_sentence) > 0.05
    assert abs(value - total) > 0.05


@few
@given(
    st.integers(1, 5).flatmap(
        lambda z: st.lists(
            st.lists(st.floats(0, 20), min_size=z, max_size=z), min_size=1, max_size=6
        )
    ),
    st.floats(0, 10),
)
def test_free_bits_equal_a_plain_loop(rows: list[list[float]], floor: float) -> None:
    kl = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    total = free_bits_per_dimension(kl, floor)
    total.backward()
    assert kl.grad is not None
    expected = 0.0
    for d, column in enumerate(zip(*rows, strict=True)):
        mean = sum(column) / len(rows)
        expected += max(floor, mean)
        if not math.isclose(mean, floor, rel_tol=1e-9):  # at the kink any subgradient will do
            share = 1 / len(rows) if mean > floor else 0.0
            assert kl.grad[:, d].tolist() == pytest.approx([share] * len(rows))
    assert total.item() == pytest.approx(expected)


EVERY = [[0.5] * 4] * 2
NOTHING = [[0.0] * 4] * 2
ABOVE_HALF = [[0.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("kind", "nats", "value", "gradient"),
    [
        # 0.5 + 2 + 3 + 0.6 in one sentence, 0.5 + 4 + 0.5 + 0.5 in the other
        ("max", 0.5, (6.1 + 5.5) / 2, ABOVE_HALF),
        ("max", 9.0, 36.0, NOTHING),
        # 2 + 3 + 0.6 and 4: what is under the floor costs nothing at all
        ("mask", 0.5, (5.6 + 4.0) / 2, ABOVE_HALF),
        ("mask", 9.0, 0.0, NOTHING),
        ("total", 5.0, 5.2, EVERY),  # 5.7 and 4.7: one sentence over, the mean over
        ("total", 5.5, 5.5, NOTHING),  # one sentence over, the mean under
        ("target", 5.0, 0.2, EVERY),  # too much
        ("target", 6.0, 0.8, [[-0.5] * 4] * 2),  # too little: pushed away from the prior
    ],
)
def test_other_kinds_by_hand(
    kind: str, nats: float, value: float, gradient: list[list[float]]
) -> None:
    kl = KL_TABLE.clone().requires_grad_()
    objective = FREE_BITS[kind](kl, nats)
    objective.backward()
    assert objective.item() == pytest.approx(value, abs=1e-6)
    assert kl.grad is not None
    assert kl.grad.tolist() == gradient


tables = st.integers(1, 5).flatmap(
    lambda z: st.lists(st.lists(st.floats(0, 20), min_size=z, max_size=z), min_size=1, max_size=6)
)


def plain(kind: str, rows: list[list[float]], nats: float) -> float:
    """Each definition once more, over lists."""
    columns = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    every = [kl for row in rows for kl in row]
    return {
        "batch": sum(max(nats, mean) for mean in columns),
        "max": sum(max(nats, kl) for kl in every) / len(rows),
        "mask": sum(kl for kl in every if kl > nats) / len(rows),
        "total": max(nats, sum(columns)),
        "target": abs(sum(columns) - nats),
    }[kind]


@pytest.mark.parametrize("kind", FREE_BITS)
@few
@given(tables, st.floats(0, 10))
def test_every_kind_equals_a_plain_loop(kind: str, rows: list[list[float]], nats: float) -> None:
    value = FREE_BITS[kind](torch.tensor(rows, dtype=torch.float64), nats).item()
    assert value == pytest.approx(plain(kind, rows, nats), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", FREE_BITS)
@few
@given(tables)
def test_no_bits_leave_the_raw_kl(kind: str, rows: list[list[float]]) -> None:
    kl = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    raw, value = kl.sum(1).mean(), FREE_BITS[kind](kl, 0.0)
    torch.testing.assert_close(value, raw)
    if min(map(min, rows)) > 0:  # at 0 is the kink
        gradients = (torch.autograd.grad(scalar, kl) for scalar in (value, raw))
        torch.testing.assert_close(*gradients)


@few
@given(tables, st.floats(0, 10))
def test_mask_and_max_have_one_gradient(rows: list[list[float]], floor: float) -> None:
    kl = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    apart = (kl != floor).double()
    by_max, by_mask = (
        torch.autograd.grad(FREE_BITS[kind](kl, floor), kl)[0] for kind in ("max", "mask")
    )
    torch.testing.assert_close(by_max * apart, by_mask * apart)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_nan_comes_through(kind: str) -> None:
    # A kind that made a number of it would hide a training gone astray.
    assert FREE_BITS[kind](torch.tensor([[1.0, math.nan]]), 0.5).isnan()


@pytest.mark.parametrize("kind", FREE_BITS)
@pytest.mark.parametrize("floor", [-0.1, math.nan])
def test_free_bits_refuse_a_floor_below_zero(kind: str, floor: float) -> None:
    unit = "sentence" if kind in ("total", "target") else "dimension"
    message = f"free_bits must be at least 0 nats per {unit}, got {floor}"
    with pytest.raises(ValueError, match=message):
        FREE_BITS[kind](KL_TABLE, floor)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_free_bits_refuse_a_kl_already_summed(kind: str) -> None:
    with pytest.raises(ValueError, match=r"kl_per_dim must be \(B, Z\), got shape \(2,\)"):
        FREE_BITS[kind](KL_TABLE.sum(1), 0.5)


def test_the_configuration_knows_every_kind() -> None:
    hint = get_type_hints(TrainingConfig)["free_bits_kind"]
    assert get_args(hint) == tuple(FREE_BITS)
