"""Tests of `textvae.losses.objective`: the terms of a batch on one scale, and free bits."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textvae.config import TrainingConfig
from textvae.losses import FREE_BITS, StepTerms, free_bits_per_dimension, objective

few = settings(max_examples=40)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).abs()


def scalars(terms: StepTerms) -> list[float]:
    return [float(term) for term in (*terms[:4], *terms.auxiliary.values())]


def test_terms_are_means_over_sentences_and_the_loss_their_weighed_sum() -> None:
    rec, kl, words = random(5), random(5, 3, seed=1), random(5, seed=2)
    terms = objective({"rec": rec, "words": words}, kl, lambda kl: 0.25 * kl, weights={"words": 3})
    mean_kl = sum(map(sum, kl.tolist())) / 5
    assert terms.rec.item() == pytest.approx(sum(rec.tolist()) / 5)
    assert terms.kl.item() == terms.kl_objective.item() == pytest.approx(mean_kl)
    assert terms.auxiliary["words"].item() == pytest.approx(sum(words.tolist()) / 5)
    expected = terms.rec + 0.25 * terms.kl + 3 * terms.auxiliary["words"]
    assert terms.loss.item() == pytest.approx(expected.item())


def test_weights_are_1_where_none_are_given() -> None:
    terms = objective({"rec": random(2), "more": random(2, seed=1)}, random(2, 3, seed=2))
    assert terms.loss.item() == pytest.approx(sum(scalars(terms)[i] for i in (1, 2, 4)))


def test_many_samples_are_averaged_too() -> None:
    rec = random(7, 5)
    assert objective({"rec": rec}, random(5, 3)).rec.item() == pytest.approx(rec.mean().item())


@pytest.mark.parametrize("kind", FREE_BITS)
def test_the_scale_stays_when_a_batch_is_repeated_or_permuted(kind: str) -> None:
    terms, kl = {"rec": random(5), "more": random(5, seed=3)}, random(5, 3, seed=1)
    once = objective(terms, kl, free_bits=0.4, free_bits_kind=kind)
    for rows in (torch.tensor([3, 0, 4, 1, 2]), torch.arange(5).repeat(3)):
        some = {name: values[rows] for name, values in terms.items()}
        again = objective(some, kl[rows], free_bits=0.4, free_bits_kind=kind)
        assert scalars(again) == pytest.approx(scalars(once))


@pytest.mark.parametrize("kind", FREE_BITS)
def test_the_annealer_gets_the_kl_after_free_bits_once_and_the_raw_kl_is_kept(kind: str) -> None:
    kl, seen = random(5, 3), list[Tensor]()

    def annealer(value: Tensor) -> Tensor:
        seen.append(value)
        return 0 * value

    terms = objective({"rec": random(5)}, kl, annealer, free_bits=9.0, free_bits_kind=kind)
    assert seen == [FREE_BITS[kind](kl, 9.0)] == [terms.kl_objective]
    assert terms.kl == kl.sum(1).mean() != terms.kl_objective
    assert terms.loss == terms.rec
    without = objective({"rec": random(5)}, kl, free_bits_kind=kind)
    assert without.kl_objective is without.kl


def test_the_batch_mean_is_the_default_kind() -> None:
    kl = random(5, 3)
    terms = objective({"rec": random(5)}, kl, free_bits=1.0)
    assert terms.kl_objective == free_bits_per_dimension(kl, 1.0)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_a_language_model_has_no_kl(kind: str) -> None:
    for bits in (0.0, 0.5):
        rec = {"rec": torch.ones(4)}
        terms = objective(rec, torch.zeros(4, 0), free_bits=bits, free_bits_kind=kind)
        assert scalars(terms) == [1, 1, 0, 0]


@pytest.mark.parametrize("bits", [0.0, 0.5])
def test_an_unknown_kind_is_refused(bits: float) -> None:
    message = "free_bits_kind must be one of batch, max, mask, total, target, got 'hinge'"
    with pytest.raises(ValueError, match=message):
        objective({"rec": random(2)}, random(2, 3), free_bits=bits, free_bits_kind="hinge")


@pytest.mark.parametrize("name", ["rec", "more"])
@pytest.mark.parametrize("shape", [(2,), (3, 7), ()])
def test_shapes_that_disagree_are_refused(name: str, shape: tuple[int, ...]) -> None:
    # Token sums of two sentences and KLs of three would give means of different things.
    terms = {"rec": random(3), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=rf"{name} must .* each of the 3 sentences of kl, got"):
        objective(terms, random(3, 4))


# Free bits

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
def test_a_floor_below_zero_is_refused(kind: str, floor: float) -> None:
    with pytest.raises(ValueError, match=f"free_bits must be at least 0, got {floor}"):
        FREE_BITS[kind](KL_TABLE, floor)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_free_bits_refuse_a_kl_already_summed(kind: str) -> None:
    with pytest.raises(ValueError, match=r"kl_per_dim must be \(B, Z\), got shape \(2,\)"):
        FREE_BITS[kind](KL_TABLE.sum(1), 0.5)


def test_the_configuration_knows_every_kind() -> None:
    hint = get_type_hints(TrainingConfig)["free_bits_kind"]
    assert get_args(hint) == tuple(FREE_BITS)
