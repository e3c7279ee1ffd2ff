"""Posteriors and their heads: what all rooms ask, against torch.distributions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from tests.draws import draws64
from textvae.config import ModelConfig
from textvae.model import HEADS, Gaussian
from textvae.model.posterior import BatchNormHead


@pytest.fixture
def gaussian() -> Gaussian:
    return Gaussian(draws64(5, 3), draws64(5, 3, seed=1))


def oracle(posterior: Gaussian) -> Normal:
    return Normal(posterior.mu, (posterior.logvar / 2).exp())


def test_moments_kl_and_rows(gaussian):
    theirs = oracle(gaussian)
    torch.testing.assert_close(gaussian.mean, theirs.mean)
    torch.testing.assert_close(gaussian.variance, theirs.variance)
    torch.testing.assert_close(gaussian.kl(), kl_divergence(theirs, Normal(0.0, 1.0)))
    other = gaussian.map(lambda rows: rows[[3]])
    expected = kl_divergence(Independent(theirs, 1), Independent(oracle(other), 1))
    torch.testing.assert_close(gaussian.kl_to(other), expected)
    assert len(other) == 1
    both = Gaussian.cat([gaussian, other])
    torch.testing.assert_close(both.mean, torch.cat([gaussian.mu, other.mu]))
    torch.testing.assert_close(gaussian.dimension(1).kl(), gaussian.kl()[:, 1:2])


def test_a_draw_is_the_mean_and_noise_times_the_deviation():
    mu = torch.tensor([[1.0, -2.0]], requires_grad=True)
    logvar = torch.tensor([[0.0, math.log(9)]], requires_grad=True)
    posterior, noise = Gaussian(mu, logvar), torch.tensor([[2.0, -1.0]])
    drawn = posterior.sample(noise)
    torch.testing.assert_close(drawn, torch.tensor([[3.0, -5.0]]))
    gradients = torch.autograd.grad(drawn.sum(), (mu, logvar))
    expected = torch.ones(1, 2), torch.tensor([[1.0, -1.5]])  # ½ · sigma · noise
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(posterior.sample(noise.expand(7, 1, 2)), drawn.expand(7, 1, 2))


def test_noise_comes_from_the_global_generator_if_none_is_given():
    posterior = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    torch.manual_seed(5)
    first, second = posterior.sample(), posterior.sample()
    torch.manual_seed(5)
    assert torch.randn(3, 2).equal(first)
    assert not second.equal(first)


def test_log_ratios_are_those_of_the_densities(gaussian):
    z = gaussian.sample(draws64(4, 5, 3, seed=2))
    q, p = Independent(oracle(gaussian), 1), Independent(Normal(torch.zeros(3), 1.0), 1)
    torch.testing.assert_close(gaussian.log_ratio(z), q.log_prob(z) - p.log_prob(z))
    codes = 3 + draws64(7, 3, seed=3)
    expected = torch.stack([q.log_prob(code) - p.log_prob(code) for code in codes])  # (S, B)
    torch.testing.assert_close(gaussian.pairwise_log_ratio(codes), expected)
    plain = super(Gaussian, gaussian).pairwise_log_ratio(codes)
    torch.testing.assert_close(plain, expected)


def batch_norm(gamma: float = 0.7) -> tuple[BatchNormHead, nn.BatchNorm1d]:
    """Ours, and PyTorch's with the same scale and shift."""
    torch.manual_seed(0)
    config = ModelConfig(latent_dim=3, posterior="batch-norm", batch_norm_gamma=gamma)
    head, theirs = HEADS["batch-norm"](4, config), nn.BatchNorm1d(3)
    with torch.no_grad():
        head.shift.copy_(torch.tensor([0.5, -0.2, 0.0]))
        theirs.weight.fill_(gamma), theirs.bias.copy_(head.shift)
    return head, theirs


def test_batch_normalised_means_are_those_of_pytorch():
    head, theirs = batch_norm()
    for seed in range(3):
        hidden = draws64(6, 4, seed=seed).float().requires_grad_()
        found, expected = head(hidden).mean, theirs(head.mu(hidden))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad(x.square().sum(), hidden)[0] for x in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(head.running_mean, theirs.running_mean)
    of_sample = 0.9**3 + (theirs.running_var - 0.9**3) * 5 / 6  # PyTorch's divides by B − 1
    torch.testing.assert_close(head.running_variance, of_sample, rtol=1e-4, atol=1e-5)
    hidden = draws64(6, 4, seed=9).float()
    alone = torch.cat([head.eval()(hidden[[i]]).mean for i in range(6)])
    torch.testing.assert_close(head(hidden).mean, alone)  # in evaluation no sentence sees another


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_they_keep_the_kl_above_the_papers_bound(gamma):
    head, _ = batch_norm(gamma)
    hidden = draws64(200, 4).float()
    kl = head(hidden).kl().sum(1).mean()
    bound = 3 * gamma**2 / 2 + float(head.shift.detach().square().sum()) / 2
    assert float(kl.detach()) > bound - 1e-4
    with torch.no_grad():  # at the prior's variance nothing is above it
        head.logvar.weight.zero_(), head.logvar.bias.zero_()
    assert float(head(hidden).kl().sum(1).mean().detach()) == pytest.approx(bound, rel=1e-3)


def minimum_rate(rate: float) -> nn.Module:
    """A head of one dimension that reads mu's square root and the variance's logit as they are."""
    head = HEADS["delta"](2, ModelConfig(latent_dim=1, posterior="delta", minimum_rate=rate))
    with torch.no_grad():
        head.mu.weight.copy_(torch.tensor([[1.0, 0.0]])), head.mu.bias.zero_()
        head.logvar.weight.copy_(torch.tensor([[0.0, 1.0]])), head.logvar.bias.zero_()
    return head


def test_means_that_keep_the_rate_by_hand():
    # δ = ½ (e − 2): the larger root of 2δ + 1 + ln v − v is e, and v = ½ (e + the smaller) at 0.
    rate, low = (math.e - 2) / 2, 0.2
    for _ in range(50):
        low = math.exp(low - 2 * rate - 1)  # v = exp(v − 2δ − 1), a contraction
    variance = (low + math.e) / 2
    floor = 2 * rate + 1 + math.log(variance) - variance
    posterior = minimum_rate(rate)(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 60.0]]))
    mean = math.sqrt(floor + 9)
    assert posterior.mean[:2, 0].tolist() == pytest.approx([mean, -mean])
    assert posterior.variance[:, 0].tolist() == pytest.approx([variance, variance, math.e])
    assert posterior.kl()[2].item() == pytest.approx(rate, abs=1e-5)


@settings(max_examples=100)
@given(st.floats(0.001, 10), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_no_input_brings_the_kl_under_its_rate(rate, mu, logit):
    summary = torch.tensor([[mu, logit]], requires_grad=True)
    kl = minimum_rate(rate)(summary).kl()
    assert kl.item() >= rate * (1 - 1e-5) - 1e-6
    assert torch.autograd.grad(kl.sum(), summary)[0].isfinite().all()


def test_one_sentence_alone_is_its_shift():
    head, _ = batch_norm()
    torch.testing.assert_close(head(draws64(1, 4).float()).mean, head.shift.detach()[None])
