"""Posteriors of a split, and their moments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from textvae.batches import Batch
from textvae.diagnostics.information import mutual_information
from textvae.diagnostics.posterior import moments, posteriors
from textvae.model import SentenceVAE

SENTENCES = [[5, 6], [7], [8, 9, 10], [6, 5, 4, 7], [], [9, 9]]


@pytest.fixture
def batches(make_batch: Callable[..., Batch]) -> Callable[[list[list[int]]], list[Batch]]:
    def build(parts: list[list[int]]) -> list[Batch]:
        return [make_batch([SENTENCES[i] for i in part], indices=part) for part in parts]

    return build


@pytest.mark.parametrize(
    "parts",
    [
        [[0, 1, 2, 3, 4, 5]],
        [[4, 1], [5, 0, 3], [2]],  # other batches, another order
    ],
)
def test_posteriors_come_in_the_order_of_the_split(
    parts: list[list[int]], batches: Any, make_model: Callable[..., SentenceVAE], make_batch: Any
) -> None:
    model = make_model()
    found = posteriors(model, batches(parts), 6)
    for i, sentence in enumerate(SENTENCES):
        alone = model.encode(make_batch([sentence]))
        torch.testing.assert_close(found.mu[i], alone.mu[0])
        torch.testing.assert_close(found.logvar[i], alone.logvar[0])
    assert not found.mu.requires_grad


def test_the_model_is_left_in_its_mode_and_each_batch_is_announced(
    batches: Any, make_model: Callable[..., SentenceVAE]
) -> None:
    model = make_model().train()
    calls: list[int] = []
    posteriors(model, batches([[0, 1], [2, 3], [4, 5]]), 6, before_batch=lambda: calls.append(1))
    assert model.training
    assert len(calls) == 3


def test_a_language_model_has_posteriors_without_dimensions(
    batches: Any, make_model: Callable[..., SentenceVAE]
) -> None:
    found = posteriors(make_model(latent_dim=0), batches([[0, 1]]), 2)
    assert found.mu.shape == (2, 0)
    described = moments(*found)
    assert described.average_posterior_variance == 1
    assert described.least_aggregate_kl == 0


@pytest.mark.parametrize(("parts", "size", "seen"), [([[0, 1]], 3, "2 of 3"), ([], 0, "0 of 0")])
def test_a_sentence_that_is_missing_is_missed(
    parts: list[list[int]],
    size: int,
    seen: str,
    batches: Any,
    make_model: Callable[..., SentenceVAE],
) -> None:
    with pytest.raises(ValueError, match=f"must hold every sentence of the split, got {seen}"):
        posteriors(make_model(), batches(parts), size)


def test_the_moments_are_those_of_the_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(40, 3, generator=generator) * torch.tensor([0.0, 1.0, 3.0]) + 2
    logvar = torch.randn(40, 3, generator=generator) - 1
    found = moments(mu, logvar)
    # An oracle that knows no law of total variance: second moments of each Gaussian.
    means, variances = mu.double().numpy(), np.exp(logvar.double().numpy())
    second = (variances + means**2).mean(0)
    np.testing.assert_allclose(found.mean, means.mean(0))
    np.testing.assert_allclose(found.variance, second - means.mean(0) ** 2, rtol=1e-9)
    np.testing.assert_allclose(found.mean_variance, means.var(0), atol=1e-12)
    np.testing.assert_allclose(found.posterior_variance, variances.mean(0))
    assert found.average_posterior_variance == pytest.approx(variances.mean())


def test_the_least_aggregate_kl_is_that_of_the_gaussian_with_these_moments() -> None:
    mu = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    logvar = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    # Dimension 1 has mean 0 and variance 0.25 + 0.75: nothing tells it from the prior.
    gaussian = Independent(
        Normal(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0])), reinterpreted_batch_ndims=1
    )
    prior = Independent(Normal(torch.zeros(2), torch.ones(2)), reinterpreted_batch_ndims=1)
    expected = float(kl_divergence(gaussian, prior))
    assert moments(mu, logvar).least_aggregate_kl == pytest.approx(expected)


def test_moments_that_are_the_priors_leave_the_rest_of_the_distance_unseen() -> None:
    sign = 2.0 * (torch.arange(1000) % 2)[:, None] - 1
    mu, logvar = sign * math.sqrt(0.9), torch.full_like(sign, math.log(0.1))
    assert moments(mu, logvar).least_aggregate_kl == pytest.approx(0, abs=1e-6)
    assert mutual_information(mu, logvar).aggregate_kl > 0.4


def test_moments_as_plain_values() -> None:
    assert moments(torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).to_dict() == {
        "mean": [2.0],
        "variance": [2.0],
        "mean_variance": [1.0],
        "posterior_variance": [1.0],
    }


@pytest.mark.parametrize(
    ("mu", "logvar"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 2)),
        (torch.zeros(3, 2), torch.zeros(3, 1)),
        (torch.zeros(3), torch.zeros(3)),
    ],
)
def test_moments_refuse_what_is_no_data_set(mu: torch.Tensor, logvar: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=re.escape(f"M at least 1, got {tuple(mu.shape)} and")):
        moments(mu, logvar)
