"""Tests of `textvae.losses.objective`: the terms of a batch on one scale, and free bits."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.draws import draws64
from textvae.config import TrainingConfig
from textvae.losses import FREE_BITS, StepTerms, free_bits_per_dimension, objective

few = settings(max_examples=40)


def random(*shape: int, seed: int = 0) -> Tensor:
    return draws64(*shape, seed=seed).abs()


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


def test_weights_are_1_where_none_are_given_and_samples_are_averaged_too() -> None:
    rec, more = random(7, 5), random(7, 5, seed=1)
    terms = objective({"rec": rec, "more": more}, random(5, 3, seed=2))
    assert terms.rec.item() == pytest.approx(rec.mean().item())
    assert terms.loss.item() == pytest.approx(sum(scalars(terms)[i] for i in (1, 2, 4)))


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
@pytest.mark.parametrize("bits", [0.0, 0.5])
def test_a_language_model_has_no_kl(kind: str, bits: float) -> None:
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


ALL, NONE = [[0.5] * 4] * 2, [[0.0] * 4] * 2  # means over two sentences
ABOVE_HALF = [[0.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("kind", "nats", "value", "gradient"),
    [
        ("batch", 0.0, 0.2 + 3.0 + 1.6 + 0.4, ALL),  # no floor: the plain KL
        # The lowest dimension costs the floor.
        ("batch", 0.3, 0.3 + 3.0 + 1.6 + 0.4, [[0.0, 0.5, 0.5, 0.5]] * 2),
        # 0.6 in one sentence does not save its dimension's mean, nor does 0.2 sink the other's.
        ("batch", 0.5, 0.5 + 3.0 + 1.6 + 0.5, [[0.0, 0.5, 0.5, 0.0]] * 2),
        ("batch", 9.0, 4 * 9.0, NONE),  # all under: a constant, nothing is pushed to the prior
        # 0.5 + 2 + 3 + 0.6 in one sentence, 0.5 + 4 + 0.5 + 0.5 in the other
        ("max", 0.5, (6.1 + 5.5) / 2, ABOVE_HALF),
        ("max", 9.0, 36.0, NONE),
        # 2 + 3 + 0.6 and 4: what is under the floor costs nothing at all
        ("mask", 0.5, (5.6 + 4.0) / 2, ABOVE_HALF),
        ("mask", 9.0, 0.0, NONE),
        ("total", 5.0, 5.2, ALL),  # 5.7 and 4.7: one sentence over, the mean over
        ("total", 5.5, 5.5, NONE),  # one sentence over, the mean under
        ("target", 5.0, 0.2, ALL),  # too much
        ("target", 6.0, 0.8, [[-0.5] * 4] * 2),  # too little: pushed away from the prior
    ],
)
def test_free_bits_by_hand(
    kind: str, nats: float, value: float, gradient: list[list[float]]
) -> None:
    kl = KL_TABLE.clone().requires_grad_()
    found = FREE_BITS[kind](kl, nats)
    assert found.item() == pytest.approx(value, abs=1e-6)
    assert torch.autograd.grad(found, kl)[0].tolist() == gradient


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
@given(tables, st.just(0.0) | st.floats(0, 10))  # at 0 the raw KL
def test_every_kind_equals_a_plain_loop(kind: str, rows: list[list[float]], nats: float) -> None:
    value = FREE_BITS[kind](torch.tensor(rows, dtype=torch.float64), nats).item()
    assert value == pytest.approx(plain(kind, rows, nats), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_nan_comes_through(kind: str) -> None:
    # A kind that made a number of it would hide a training gone astray.
    assert FREE_BITS[kind](torch.tensor([[1.0, math.nan]]), 0.5).isnan()


@pytest.mark.parametrize("kind", FREE_BITS)
def test_what_free_bits_refuse(kind: str) -> None:
    for floor in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"free_bits must be at least 0, got {floor}"):
            FREE_BITS[kind](KL_TABLE, floor)
    with pytest.raises(ValueError, match=r"kl_per_dim must be \(B, Z\), got \(2,\)"):
        FREE_BITS[kind](KL_TABLE.sum(1), 0.5)  # summed already


def test_the_configuration_knows_every_kind() -> None:
    hint = get_type_hints(TrainingConfig)["free_bits_kind"]
    assert get_args(hint) == tuple(FREE_BITS)
