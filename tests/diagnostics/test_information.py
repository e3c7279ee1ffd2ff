"""Mutual information on posteriors where it is known."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from textvae.diagnostics.information import mi_per_dimension, mutual_information


def gaussian(size: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


def by_loops(mu: Tensor, logvar: Tensor, noise: Tensor) -> tuple[float, float]:
    """MI and aggregate KL from torch.distributions, one pair at a time."""
    mu, std = mu.double(), (0.5 * logvar.double()).exp()
    z = mu + std * noise.double()
    mi = aggregate = 0.0
    for i in range(len(z)):
        pairs = torch.stack([Normal(mu[j], std[j]).log_prob(z[i]).sum() for j in range(len(z))])
        mixture = torch.logsumexp(pairs, 0) - math.log(len(z))
        mi += float(pairs[i] - mixture) / len(z)
        aggregate += float(mixture - Normal(0.0, 1.0).log_prob(z[i]).sum()) / len(z)
    return mi, aggregate


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_it_is_what_the_formula_says(scale: float) -> None:
    mu, logvar, noise = gaussian(20, 3) * scale + 7, gaussian(20, 3, 1), gaussian(20, 3, 2)
    found = mutual_information(mu, logvar, noise=noise)
    mi, aggregate = by_loops(mu, logvar, noise)
    assert found.mi == pytest.approx(mi, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.7, -1.3)])
def test_a_collapsed_posterior_says_nothing_whatever_the_draw(
    seed: int, mean: float, logvar: float
) -> None:
    same = torch.full((300, 32), mean), torch.full((300, 32), logvar)
    found = mutual_information(*same, seed=seed)
    assert found.mi == pytest.approx(0, abs=1e-12)
    assert found.mi_se == pytest.approx(0, abs=1e-12)
    assert found.mi_max == pytest.approx(math.log(300))
    assert mi_per_dimension(*same, seed=seed) == pytest.approx([0] * 32, abs=1e-12)
    if mean == 0:
        assert (found.kl, found.aggregate_kl) == pytest.approx((0, 0), abs=1e-12)
    else:
        # All of the KL is between q(z) and the prior; estimated, so within sampling error.
        assert found.aggregate_kl == pytest.approx(found.kl, abs=1.0)


@pytest.mark.parametrize(
    ("centres", "expected"),
    [
        (torch.arange(500.0), math.log(500)),  # as many codes as sentences
        (torch.arange(500.0) % 2, math.log(2)),  # two clusters
        (torch.arange(500.0) % 5, math.log(5)),
    ],
)
def test_tight_clusters_say_which_of_them(centres: Tensor, expected: float) -> None:
    mu = torch.stack([centres, 0 * centres], 1)
    logvar = torch.full_like(mu, 2 * math.log(0.01))
    found = mutual_information(mu, logvar)
    assert found.mi == pytest.approx(expected, abs=1e-9)
    assert mi_per_dimension(mu, logvar) == pytest.approx([expected, 0], abs=1e-9)


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9])
def test_gaussian_means_with_gaussian_noise(variance: float) -> None:
    # q(z) is the prior, so KL(q(z) ‖ p(z)) is 0 and the MI that of a Gaussian channel.
    mu = gaussian(4000, 1) * math.sqrt(1 - variance)
    found = mutual_information(mu, torch.full_like(mu, math.log(variance)), seed=1)
    exact = -0.5 * math.log(variance)
    assert found.mi == pytest.approx(exact, abs=0.05)
    assert abs(found.mi - exact) < 4 * found.mi_se
    assert found.aggregate_kl == pytest.approx(0, abs=0.02)


def test_the_standard_error_is_the_spread_of_estimates() -> None:
    variance = 0.5
    found = []
    for seed in range(60):
        mu = gaussian(200, 1, seed) * math.sqrt(1 - variance)
        logvar = torch.full_like(mu, math.log(variance))
        found.append(mutual_information(mu, logvar, seed=99 - seed))
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
    mu = gaussian(size, width, seed) * spread
    logvars = logvar + 0.3 * gaussian(size, width, seed + 1)
    found = mutual_information(mu, logvars, seed=seed)
    assert found.mi <= found.mi_max + 1e-12
    for chunk in (1, 7, size):
        again = mutual_information(mu, logvars, seed=seed, chunk=chunk)
        assert again == pytest.approx(found, rel=1e-10, abs=1e-10)


def test_the_order_of_sentences_does_not_matter() -> None:
    mu, logvar, noise = gaussian(100, 4), gaussian(100, 4, 1), gaussian(100, 4, 2)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    found = mutual_information(mu, logvar, noise=noise)
    again = mutual_information(mu[order], logvar[order], noise=noise[order])
    assert again == pytest.approx(found, abs=1e-10)


def test_very_tight_posteriors_far_from_the_origin_keep_their_digits() -> None:
    # Expanded squares are of size 1e4² / 1e-8: without centring nothing would be left of them.
    mu = 1e4 + torch.arange(50.0)[:, None] * 1e-3
    logvar = torch.full_like(mu, math.log(1e-8))
    noise = gaussian(50, 1)
    expected, _ = by_loops(mu, logvar, noise)
    assert mutual_information(mu, logvar, noise=noise).mi == pytest.approx(expected, abs=1e-3)


def test_the_seed_decides() -> None:
    mu, logvar = gaussian(30, 2), gaussian(30, 2, 1)
    first, again, other = (mutual_information(mu, logvar, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.mi != other.mi


def test_a_language_model_has_none() -> None:
    found = mutual_information(torch.zeros(5, 0), torch.zeros(5, 0))
    assert found == pytest.approx((0, 0, math.log(5), 0, 0))
    assert mi_per_dimension(torch.zeros(5, 0), torch.zeros(5, 0)) == []


def test_the_classic_estimator_is_noise_on_a_collapsed_posterior() -> None:
    # Why it is not the default: the entropy of a 32-dimensional draw has a standard deviation of
    # √(32 / 2) = 4, over a batch of 32 still 4 / √32.
    collapsed = torch.zeros(32, 32), torch.zeros(32, 32)
    found = torch.tensor(
        [mutual_information(*collapsed, estimator="classic", seed=seed).mi for seed in range(400)]
    )
    assert float(found.std()) == pytest.approx(math.sqrt(16 / 32), rel=0.15)
    assert 0.3 < float((found < 0).double().mean()) < 0.7


def test_the_classic_estimator_is_what_the_papers_compute() -> None:
    mu, logvar, noise = gaussian(70, 3), gaussian(70, 3, 1), gaussian(70, 3, 2)
    found = mutual_information(mu, logvar, noise=noise, estimator="classic")
    expected = 0.0
    for start in (0, 32, 64):
        means, std = (t[start : start + 32].double() for t in (mu, (0.5 * logvar).exp()))
        z = means + std * noise[start : start + 32].double()
        for i in range(len(z)):
            pairs = torch.stack(
                [Normal(means[j], std[j]).log_prob(z[i]).sum() for j in range(len(z))]
            )
            mixture = torch.logsumexp(pairs, 0) - math.log(len(z))
            entropy = Normal(means[i], std[i]).entropy().sum()
            expected += float(-entropy - mixture) / 70
    assert found.mi == pytest.approx(expected, abs=1e-5)
    assert found.mi_max == pytest.approx(math.log(32))


def test_kl_is_the_closed_form() -> None:
    mu, logvar = gaussian(10, 2), gaussian(10, 2, 1)
    found = mutual_information(mu, logvar)
    q = Normal(mu.double(), (0.5 * logvar.double()).exp())
    expected = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    assert found.kl == pytest.approx(float(expected))


def test_information_per_dimension_looks_at_a_spread_of_sentences() -> None:
    # Only the second half of the data set differs from 0: the first sentences alone show nothing.
    mu = torch.cat([torch.zeros(100, 1), torch.full((100, 1), 5.0)])
    logvar = torch.full_like(mu, 2 * math.log(0.01))
    assert mi_per_dimension(mu, logvar, max_sentences=10) == pytest.approx([math.log(2)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mu": torch.zeros(0, 2)}, "mu must be (N, Z) with N at least 1, got (0, 2)"),
        ({"mu": torch.zeros(4)}, "mu must be (N, Z) with N at least 1, got (4,)"),
        ({"logvar": torch.zeros(4, 1)}, "logvar must be (4, 2), got (4, 1)"),
        ({"noise": torch.zeros(3, 2)}, "noise must be (4, 2), got (3, 2)"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"estimator": "best"}, "estimator must be 'paired' or 'classic', got 'best'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    given = {"mu": torch.zeros(4, 2), "logvar": torch.zeros(4, 2), **arguments}
    with pytest.raises(ValueError, match=re.escape(message)):
        mutual_information(given.pop("mu"), given.pop("logvar"), **given)


def test_no_sentences_for_information_per_dimension() -> None:
    with pytest.raises(ValueError, match="max_sentences must be at least 1, got 0"):
        mi_per_dimension(torch.zeros(4, 2), torch.zeros(4, 2), max_sentences=0)
