"""Tests of `textvae.losses.elbo`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from textvae.losses import FREE_BITS, elbo_terms, kl_per_dimension


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_elbo_terms_are_means_over_sentences() -> None:
    rec, mu, logvar = random(5).abs(), random(5, 3), random(5, 3, seed=1)
    terms = elbo_terms(rec, mu, logvar)
    kls = [kl_per_dimension(mu[b], logvar[b]).sum().item() for b in range(5)]
    assert terms.rec.item() == pytest.approx(sum(rec.tolist()) / 5)
    assert terms.kl.item() == pytest.approx(sum(kls) / 5)
    assert terms.kl_objective.item() == terms.kl.item()


@pytest.mark.parametrize("kind", FREE_BITS)
def test_elbo_terms_keep_their_scale_when_the_batch_is_repeated_or_permuted(kind: str) -> None:
    rec, mu, logvar = random(5).abs(), random(5, 3), random(5, 3, seed=1)
    options = {"free_bits": 0.4, "free_bits_kind": kind}
    once = torch.stack(elbo_terms(rec, mu, logvar, **options))
    order = torch.tensor([3, 0, 4, 1, 2])
    for rows in (order, torch.arange(5).repeat(3)):
        again = torch.stack(elbo_terms(rec[rows], mu[rows], logvar[rows], **options))
        torch.testing.assert_close(again, once)


def test_free_bits_change_the_objective_and_not_the_raw_kl() -> None:
    mu, logvar = random(5, 3) * 0.1, torch.zeros(5, 3, dtype=torch.float64)
    plain, floored = (elbo_terms(random(5), mu, logvar, free_bits=bits) for bits in (0.0, 0.5))
    assert floored.kl.item() == plain.kl.item() < 0.1
    assert floored.kl_objective.item() == pytest.approx(3 * 0.5)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_free_bits_of_every_kind_are_those_of_the_table(kind: str) -> None:
    rec, mu, logvar = random(5), random(5, 3), random(5, 3, seed=1)
    per_dim = kl_per_dimension(mu, logvar)
    terms = elbo_terms(rec, mu, logvar, free_bits=2.0, free_bits_kind=kind)
    assert terms.kl_objective == FREE_BITS[kind](per_dim, 2.0)
    assert terms.kl == per_dim.sum(1).mean() != terms.kl_objective
    without = elbo_terms(rec, mu, logvar, free_bits_kind=kind)
    assert without.kl_objective is without.kl


def test_the_batch_mean_is_the_default_kind() -> None:
    mu, logvar = random(5, 3), random(5, 3, seed=1)
    batch = elbo_terms(random(5), mu, logvar, free_bits=1.0, free_bits_kind="batch")
    assert elbo_terms(random(5), mu, logvar, free_bits=1.0) == batch


@pytest.mark.parametrize("kind", FREE_BITS)
def test_terms_of_a_language_model_have_no_kl(kind: str) -> None:
    nothing = torch.zeros(4, 0)
    for bits in (0.0, 0.5):
        terms = elbo_terms(torch.ones(4), nothing, nothing, free_bits=bits, free_bits_kind=kind)
        assert [term.item() for term in terms] == [1, 0, 0]


@pytest.mark.parametrize("floor", [-0.1, math.nan])
def test_elbo_terms_refuse_a_floor_below_zero(floor: float) -> None:
    message = f"free_bits must be at least 0 nats per dimension, got {floor}"
    with pytest.raises(ValueError, match=message):
        elbo_terms(torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 3), free_bits=floor)


@pytest.mark.parametrize("bits", [0.0, 0.5])
def test_elbo_terms_refuse_a_kind_they_do_not_know(bits: float) -> None:
    message = "free_bits_kind must be one of 'batch', 'max', 'mask', 'total', 'target', got 'hinge'"
    with pytest.raises(ValueError, match=message):
        elbo_terms(
            torch.zeros(2),
            torch.zeros(2, 3),
            torch.zeros(2, 3),
            free_bits=bits,
            free_bits_kind="hinge",
        )


def test_elbo_terms_refuse_shapes_that_disagree() -> None:
    # Token sums of two sentences and codes of three would give means of different things.
    with pytest.raises(ValueError, match=r"each of the 3 sentences of mu, got shape \(2,\)"):
        elbo_terms(torch.zeros(2), torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"each of the 3 sentences of mu, got shape \(3, 7\)"):
        elbo_terms(torch.zeros(3, 7), torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"the same shape, got \(3, 4\) and \(4,\)"):
        elbo_terms(torch.zeros(3), torch.zeros(3, 4), torch.zeros(4))
