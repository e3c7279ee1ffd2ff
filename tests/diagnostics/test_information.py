"""Mutual information on posteriors where it is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Distribution, Normal

from tests.diagnostics.models import Laplace, draws
from textvae.checks import InputError
from textvae.diagnostics import information, mi_per_dimension, mutual_information
from textvae.model import Gaussian, Posterior

FAMILIES: dict[str, tuple[Callable[..., Posterior], Callable[..., Distribution]]] = {
    "gaussian": (Gaussian, lambda mu, logvar: Normal(mu, (0.5 * logvar).exp())),
    "laplace": (
        lambda mu, logvar: Laplace(mu, logvar.exp()),
        lambda mu, logvar: torch.distributions.Laplace(mu, logvar.exp()),
    ),
}


def by_loops(family: str, mu: Tensor, logvar: Tensor, noise: Tensor) -> tuple[float, float]:
    """MI and aggregate KL from torch.distributions, one pair at a time."""
    ours, oracle = FAMILIES[family]
    mu, logvar = mu.double(), logvar.double()
    z, prior = ours(mu, logvar).sample(noise.double()), Normal(0.0, 1.0)
    mi = aggregate = 0.0
    for i in range(len(z)):
        pairs = oracle(mu, logvar).log_prob(z[i]).sum(1)
        mixture = torch.logsumexp(pairs, 0) - math.log(len(z))
        mi += float(pairs[i] - mixture) / len(z)
        aggregate += float(mixture - prior.log_prob(z[i]).sum()) / len(z)
    return mi, aggregate


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_what_the_formula_says(family: str, scale: float) -> None:
    mu, logvar = draws(20, 3).double() * scale + 7, draws(20, 3, seed=1).double()
    noise = draws(20, 3, seed=2)
    found = mutual_information(FAMILIES[family][0](mu, logvar), seed=2)
    mi, aggregate = by_loops(family, mu, logvar, noise)
    assert found.mi == pytest.approx(mi, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_each_dimension_alone(family: str) -> None:
    mu, logvar = draws(30, 2).double(), draws(30, 2, seed=1).double()
    found = mi_per_dimension(FAMILIES[family][0](mu, logvar), seed=4)
    expected = [
        by_loops(family, *(t[:, d : d + 1] for t in (mu, logvar, draws(30, 2, seed=4))))[0]
        for d in range(2)
    ]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.7, -1.3)])
def test_a_collapsed_posterior_says_nothing_whatever_the_draw(
    seed: int, mean: float, logvar: float
) -> None:
    same = Gaussian(torch.full((300, 32), mean), torch.full((300, 32), logvar))
    found = mutual_information(same, seed=seed)
    assert (found.mi, found.mi_se) == pytest.approx((0, 0), abs=1e-12)
    assert found.mi_max == pytest.approx(math.log(300))
    assert mi_per_dimension(same, seed=seed) == pytest.approx([0] * 32, abs=1e-12)
    # All of the KL is between q(z) and the prior; estimated, so within sampling error.
    kl = float(same.kl().sum(1).mean())
    assert found.aggregate_kl == pytest.approx(kl, abs=1.0 if mean else 1e-12)


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9])
def test_gaussian_means_with_gaussian_noise(variance: float) -> None:
    # q(z) is the prior, so KL(q(z) ‖ p(z)) is 0 and the MI that of a Gaussian channel.
    mu = draws(4000, 1) * math.sqrt(1 - variance)
    found = mutual_information(Gaussian(mu, torch.full_like(mu, math.log(variance))), seed=1)
    exact = -0.5 * math.log(variance)
    assert found.mi == pytest.approx(exact, abs=0.05)
    assert abs(found.mi - exact) < 4 * found.mi_se
    assert found.aggregate_kl == pytest.approx(0, abs=0.02)


def test_the_standard_error_is_the_spread_of_estimates() -> None:
    found = []
    for seed in range(60):
        mu = draws(200, 1, seed=seed) * math.sqrt(0.5)
        posterior = Gaussian(mu, torch.full_like(mu, math.log(0.5)))
        found.append(mutual_information(posterior, seed=99 - seed))
    spread = float(torch.tensor([each.mi for each in found]).std())
    assert spread == pytest.approx(sum(each.mi_se for each in found) / 60, rel=0.4)


@settings(max_examples=40)
@given(
    size=st.integers(1, 30),
    width=st.integers(0, 4),
    spread=st.floats(0, 50),
    logvar=st.floats(-12, 3),
    seed=st.integers(0, 5),
)
def test_it_is_never_above_log_n_and_the_chunk_does_not_matter(
    size: int, width: int, spread: float, logvar: float, seed: int
) -> None:
    mu = draws(size, width, seed=seed) * spread
    posterior = Gaussian(mu, logvar + 0.3 * draws(size, width, seed=seed + 1))
    found = mutual_information(posterior, seed=seed)
    assert found.mi <= found.mi_max + 1e-12
    for chunk in (1, 7, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(information, "MAX_PAIRS", chunk * size)
            again = mutual_information(posterior, seed=seed)
        assert again == pytest.approx(found, rel=1e-10, abs=1e-10)


def test_very_tight_posteriors_far_from_the_origin_keep_their_digits() -> None:
    # Expanded squares are of size 1e4² / 1e-8: without centring nothing would be left of them.
    mu = 1e4 + torch.arange(50.0)[:, None] * 1e-3
    logvar = torch.full_like(mu, math.log(1e-8))
    found = mutual_information(Gaussian(mu, logvar), seed=0)
    expected, _ = by_loops("gaussian", mu, logvar, draws(50, 1))
    assert found.mi == pytest.approx(expected, abs=1e-3)


def test_the_classic_estimator_is_what_the_papers_compute() -> None:
    mu, logvar, noise = draws(70, 3), draws(70, 3, seed=1), draws(70, 3, seed=2)
    found = mutual_information(Gaussian(mu, logvar), seed=2, estimator="classic")
    expected, aggregate, of_batches = 0.0, 0.0, []
    for start in (0, 32, 64):
        part = tuple(t[start : start + 32].double() for t in (mu, logvar, noise))
        q = Normal(part[0], (0.5 * part[1]).exp())
        z = q.mean + q.stddev * part[2]
        pairs = q.log_prob(z[:, None]).sum(-1)
        mixture = torch.logsumexp(pairs, 1) - math.log(len(z))
        estimate = -q.entropy().sum(1) - mixture
        of_batches.append(estimate.mean())
        expected += float(estimate.sum()) / 70
        aggregate += float((mixture - Normal(0.0, 1.0).log_prob(z).sum(1)).sum()) / 70
    assert found.mi == pytest.approx(expected, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, abs=1e-9)
    assert found.mi_max == pytest.approx(math.log(32))
    assert found.mi_se == pytest.approx(float(torch.stack(of_batches).std() / math.sqrt(3)))


def test_information_per_dimension_looks_at_a_spread_of_sentences() -> None:
    # Only the second half of the data set differs from 0: the first sentences alone show nothing.
    mu = torch.cat([torch.zeros(100, 1), torch.full((100, 1), 5.0)])
    posterior = Gaussian(mu, torch.full_like(mu, 2 * math.log(0.01)))
    assert mi_per_dimension(posterior, max_sentences=10) == pytest.approx([math.log(2)])
    assert mi_per_dimension(posterior, max_sentences=1) == [0]


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((0, 2), {}, "posterior must be (N, Z) with N at least 1, got (0, 2)"),
        ((4,), {}, "posterior must be (N, Z) with N at least 1, got (4,)"),
        ((4, 2), {"max_sentences": 0}, "max_sentences must be at least 1, got 0"),
        ((4, 2), {"estimator": "best"}, "estimator must be one of paired, classic, got 'best'"),
    ],
)
def test_wrong_arguments(shape: tuple[int, ...], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        mutual_information(Gaussian(torch.zeros(shape), torch.zeros(shape)), **arguments)


def test_no_sentences_for_information_per_dimension() -> None:
    with pytest.raises(InputError, match="max_sentences must be at least 1, got 0"):
        mi_per_dimension(Gaussian(torch.zeros(4, 2), torch.zeros(4, 2)), max_sentences=0)
