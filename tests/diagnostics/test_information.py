"""What z says, on posteriors and codes where it is known; moments, units, gradients."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence
from torch.nn.utils import clip_grad_norm_, get_total_norm

from tests.diagnostics.models import Laplace, Written, batches
from tests.draws import draws
from textvae.batches import collate
from textvae.checks import InputError
from textvae.diagnostics import (
    active_dimensions,
    active_units,
    au_curve,
    gradient_norm,
    gradient_norms,
    information,
    mi_per_dimension,
    moments,
    mutual_information,
    posteriors,
)
from textvae.diagnostics.information import AU_THRESHOLDS
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
def test_it_is_what_the_formula_says(family, scale):
    mu, logvar = draws(20, 3).double() * scale + 7, draws(20, 3, seed=1).double()
    noise = draws(20, 3, seed=2)
    found = mutual_information(FAMILIES[family][0](mu, logvar), seed=2)
    mi, aggregate = by_loops(family, mu, logvar, noise)
    assert found.mi == pytest.approx(mi, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_each_dimension_alone(family):
    mu, logvar = draws(30, 2).double(), draws(30, 2, seed=1).double()
    found = mi_per_dimension(FAMILIES[family][0](mu, logvar), seed=4)
    expected = [
        by_loops(family, *(t[:, d : d + 1] for t in (mu, logvar, draws(30, 2, seed=4))))[0]
        for d in range(2)
    ]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.7, -1.3)])
def test_a_collapsed_posterior_says_nothing_whatever_the_draw(seed, mean, logvar):
    same = Gaussian(torch.full((300, 32), mean), torch.full((300, 32), logvar))
    found = mutual_information(same, seed=seed)
    assert (found.mi, found.mi_se) == pytest.approx((0, 0), abs=1e-12)
    assert found.mi_max == pytest.approx(math.log(300))
    assert mi_per_dimension(same, seed=seed) == pytest.approx([0] * 32, abs=1e-12)
    # All of the KL is between q(z) and the prior; estimated, so within sampling error.
    kl = float(same.kl().sum(1).mean())
    assert found.aggregate_kl == pytest.approx(kl, abs=1.0 if mean else 1e-12)


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9])
def test_gaussian_means_with_gaussian_noise(variance):
    # q(z) is the prior, so KL(q(z) ‖ p(z)) is 0 and the MI that of a Gaussian channel.
    mu = draws(4000, 1) * math.sqrt(1 - variance)
    found = mutual_information(Gaussian(mu, torch.full_like(mu, math.log(variance))), seed=1)
    exact = -0.5 * math.log(variance)
    assert found.mi == pytest.approx(exact, abs=0.05)
    assert abs(found.mi - exact) < 4 * found.mi_se
    assert found.aggregate_kl == pytest.approx(0, abs=0.02)


def test_the_standard_error_is_the_spread_of_estimates():
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
def test_it_is_never_above_log_n_and_the_chunk_does_not_matter(size, width, spread, logvar, seed):
    mu = draws(size, width, seed=seed) * spread
    posterior = Gaussian(mu, logvar + 0.3 * draws(size, width, seed=seed + 1))
    found = mutual_information(posterior, seed=seed)
    assert found.mi <= found.mi_max + 1e-12
    for chunk in (1, 7, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(information, "MAX_PAIRS", chunk * size)
            again = mutual_information(posterior, seed=seed)
        assert again == pytest.approx(found, rel=1e-10, abs=1e-10)


def test_very_tight_posteriors_far_from_the_origin_keep_their_digits():
    # Expanded squares are of size 1e4² / 1e-8: without centring nothing would be left of them.
    mu = 1e4 + torch.arange(50.0)[:, None] * 1e-3
    logvar = torch.full_like(mu, math.log(1e-8))
    found = mutual_information(Gaussian(mu, logvar), seed=0)
    expected, _ = by_loops("gaussian", mu, logvar, draws(50, 1))
    assert found.mi == pytest.approx(expected, abs=1e-3)


def test_the_classic_estimator_is_what_the_papers_compute():
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


def test_information_of_a_spread_of_sentences():
    # Only the second half of the data set differs from 0: the first sentences alone show nothing.
    mu = torch.cat([torch.zeros(100, 1), torch.full((100, 1), 5.0)])
    posterior = Gaussian(mu, torch.full_like(mu, 2 * math.log(0.01)))
    assert mi_per_dimension(posterior, max_sentences=10) == pytest.approx([math.log(2)])
    assert mi_per_dimension(posterior, max_sentences=1) == [0]
    found = mutual_information(posterior, max_sentences=10)
    assert (found.mi, found.mi_max) == pytest.approx((math.log(2), math.log(10)))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((0, 2), {}, "posterior must be (N, Z) with N at least 1, got (0, 2)"),
        ((4,), {}, "posterior must be (N, Z) with N at least 1, got (4,)"),
        ((4, 2), {"estimator": "best"}, "estimator must be one of paired, classic, got 'best'"),
    ],
)
def test_wrong_posteriors(shape, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        mutual_information(Gaussian(torch.zeros(shape), torch.zeros(shape)), **arguments)
    with pytest.raises(InputError, match="max_sentences must be at least 1, got 0"):
        mi_per_dimension(Gaussian(torch.zeros(4, 2), torch.zeros(4, 2)), max_sentences=0)


@pytest.mark.parametrize("family", [Gaussian, Laplace])
def test_the_moments_are_those_of_the_mixture(family):
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


def test_the_least_aggregate_kl_is_that_of_the_gaussian_with_these_moments():
    mu = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    logvar = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    # Dimension 1 has mean 0 and variance 0.25 + 0.75: nothing tells it from the prior.
    gaussian = Normal(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0]))
    expected = float(kl_divergence(gaussian, Normal(0.0, 1.0)).sum())
    assert moments(Gaussian(mu, logvar)).least_aggregate_kl == pytest.approx(expected)


def test_moments_that_are_the_priors_leave_the_rest_of_the_distance_unseen():
    sign = 2.0 * (torch.arange(1000) % 2)[:, None] - 1
    posterior = Gaussian(sign * math.sqrt(0.9), torch.full_like(sign, math.log(0.1)))
    assert moments(posterior).least_aggregate_kl == pytest.approx(0, abs=1e-6)
    assert mutual_information(posterior).aggregate_kl > 0.4


def test_a_language_model_has_posteriors_without_dimensions():
    found = posteriors(Written([1.0] * 2), batches([[0, 1]]), 2)
    assert found.mean.shape == (2, 0)
    assert (moments(found).average_variance, moments(found).least_aggregate_kl) == (1, 0)


def means_with_variances(*variances: float) -> torch.Tensor:
    """Two sentences at mean ± standard deviation: the variance over them is exact."""
    deviation = torch.tensor(variances, dtype=torch.float64).sqrt()
    return torch.stack([5 + deviation, 5 - deviation])


def test_counts_at_several_thresholds():
    curve = au_curve(means_with_variances(0.0002, 0.002, 0.02, 0.2, 2.0))
    assert list(curve) == list(AU_THRESHOLDS) == sorted(AU_THRESHOLDS)
    assert list(curve.values()) == [5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert active_units(means_with_variances(0.25), threshold=0.25) == 1, "at it, it counts"
    assert active_units(means_with_variances(0.0099, 0.0101, 0)) == 1, "either side of it"
    assert active_units(means_with_variances()) == 0, "a language model"
    assert active_dimensions([0.0, 0.009, 0.01, 3.0]) == 2
    assert active_dimensions(torch.tensor([0.0, 0.009, 0.01, 3.0]), threshold=0.001) == 3
    assert active_dimensions([]) == 0


DEEP = {"bidirectional": True, "decoder_num_layers": 2}


@pytest.mark.parametrize("arguments", [{}, {"tied_embeddings": True}, DEEP])
def test_norms_of_the_parts_make_up_the_whole(make_model, arguments):
    model = trained(make_model(**arguments))
    total, encoder, decoder = gradient_norms(model)
    assert all(norm.ndim == 0 and norm > 0 for norm in (total, encoder, decoder))
    torch.testing.assert_close(total**2, encoder**2 + decoder**2)
    torch.testing.assert_close(gradient_norm(model), total)
    of_decoder = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    torch.testing.assert_close(decoder, get_total_norm(of_decoder))
    torch.testing.assert_close(clip_grad_norm_(model.parameters(), 1.0), total)
    assert gradient_norm(model).item() == pytest.approx(1, rel=1e-4)
    next(model.encoder.parameters()).grad.view(-1)[0] = torch.inf
    assert not torch.isfinite(gradient_norms(model).total)


def trained(model: Any) -> Any:
    out = model(collate([[5, 6, 7], [8, 9], [10]]))
    (out.terms["rec"].sum() + out.posterior.kl().sum()).backward()
    return model


def test_a_part_without_gradients_counts_as_nothing(make_model):
    total, encoder, decoder = gradient_norms(trained(make_model(latent_dim=0)))
    assert (encoder, total) == (0, decoder)
    assert [float(norm) for norm in gradient_norms(make_model())] == [0, 0, 0]
    assert float(gradient_norm(nn.Linear(2, 2))) == 0
