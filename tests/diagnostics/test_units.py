"""Posteriors of a split, their moments, and counts of dimensions in use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.diagnostics.models import SENTENCES, TRUNCATED, Laplace, Written, draws
from textvae.checks import InputError
from textvae.diagnostics import (
    active_dimensions,
    active_units,
    au_curve,
    evaluate,
    moments,
    mutual_information,
    posteriors,
)
from textvae.diagnostics.information import AU_THRESHOLDS
from textvae.model import Gaussian, SentenceVAE


def test_posteriors_come_in_the_order_of_the_split(
    cut: list[list[int]], batches: Any, make_model: Callable[..., SentenceVAE], make_batch: Any
) -> None:
    model = make_model()
    found = posteriors(model, batches(cut), 8)
    assert not found.mean.requires_grad
    for i, (sentence, truncated) in enumerate(zip(SENTENCES, TRUNCATED, strict=True)):
        alone = model.encode(make_batch([sentence], truncated=[truncated]))
        torch.testing.assert_close(found.mean[i], alone.mean[0])
        torch.testing.assert_close(found.variance[i], alone.variance[0])


@pytest.mark.parametrize(
    ("parts", "size", "message"),
    [
        ([[0, 1]], 3, "every sentence of the split once, got 2 of 3 in 2 rows"),
        ([[0, 1], [1]], 2, "once, got 2 of 2 in 3 rows"),
        ([[1, 2]], 2, "once, got 2 of 2 in 2 rows"),
        ([], 0, "there is no sentence to evaluate on"),
    ],
)
def test_every_sentence_must_come_once(
    parts: list[list[int]], size: int, message: str, batches: Any
) -> None:
    for estimate in (posteriors, evaluate):
        with pytest.raises(InputError, match=message):
            estimate(Written([1.0] * 8), batches(parts), size)


@pytest.mark.parametrize("family", [Gaussian, Laplace])
def test_the_moments_are_those_of_the_mixture(family: Any) -> None:
    means = draws(40, 3) * torch.tensor([0.0, 1.0, 3.0]) + 2
    posterior = family(means, draws(40, 3, seed=1).abs() + 0.1)
    found = moments(posterior)
    # An oracle that knows no law of total variance: second moments of each sentence.
    mean, variance = posterior.mean.double(), posterior.variance.double()
    second = (variance + mean.square()).mean(0)
    assert found.mean == pytest.approx(mean.mean(0).tolist())
    assert found.variance == pytest.approx((second - mean.mean(0).square()).tolist(), rel=1e-6)
    assert found.mean_variance == pytest.approx(mean.var(0, correction=0).tolist(), abs=1e-12)
    assert found.posterior_variance == pytest.approx(variance.mean(0).tolist(), rel=1e-6)
    assert found.average_variance == pytest.approx(float(variance.mean()), rel=1e-6)


def test_the_least_aggregate_kl_is_that_of_the_gaussian_with_these_moments() -> None:
    mu = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    logvar = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    # Dimension 1 has mean 0 and variance 0.25 + 0.75: nothing tells it from the prior.
    gaussian = Normal(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0]))
    expected = float(kl_divergence(gaussian, Normal(0.0, 1.0)).sum())
    assert moments(Gaussian(mu, logvar)).least_aggregate_kl == pytest.approx(expected)


def test_moments_that_are_the_priors_leave_the_rest_of_the_distance_unseen() -> None:
    sign = 2.0 * (torch.arange(1000) % 2)[:, None] - 1
    posterior = Gaussian(sign * math.sqrt(0.9), torch.full_like(sign, math.log(0.1)))
    assert moments(posterior).least_aggregate_kl == pytest.approx(0, abs=1e-6)
    assert mutual_information(posterior).aggregate_kl > 0.4


def test_a_language_model_has_posteriors_without_dimensions(batches: Any) -> None:
    found = posteriors(Written([1.0] * 2), batches([[0, 1]]), 2)
    assert found.mean.shape == (2, 0)
    assert (moments(found).average_variance, moments(found).least_aggregate_kl) == (1, 0)


def means_with_variances(*variances: float) -> torch.Tensor:
    """Two sentences at mean ± standard deviation: the variance over them is exact."""
    deviation = torch.tensor(variances, dtype=torch.float64).sqrt()
    return torch.stack([5 + deviation, 5 - deviation])


@pytest.mark.parametrize(
    ("variances", "expected"),
    [
        ((0.0, 0.0), 0),  # nothing moves, wherever the means are
        ((0.0099, 0.0101), 1),  # either side of the threshold
        ((1.0, 2.0, 0.5), 3),
        ((), 0),  # a language model
    ],
)
def test_active_units_count_means_that_vary(variances: tuple[float, ...], expected: int) -> None:
    assert active_units(means_with_variances(*variances)) == expected


def test_counts_at_several_thresholds() -> None:
    curve = au_curve(means_with_variances(0.0002, 0.002, 0.02, 0.2, 2.0))
    assert list(curve) == list(AU_THRESHOLDS) == sorted(AU_THRESHOLDS)
    assert list(curve.values()) == [5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert active_units(means_with_variances(0.25), threshold=0.25) == 1, "at it, it counts"
    assert active_dimensions([0.0, 0.009, 0.01, 3.0]) == 2
    assert active_dimensions(torch.tensor([0.0, 0.009, 0.01, 3.0]), threshold=0.001) == 3
    assert active_dimensions([]) == 0
