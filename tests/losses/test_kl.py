"""Tests of `textvae.losses`."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from textvae.losses import kl_divergence, kl_per_dimension

few = settings(max_examples=40)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


gaussians = st.lists(st.tuples(st.floats(-6, 6), st.floats(-12, 6)), min_size=6, max_size=6)


@few
@given(gaussians)
def test_kl_equals_torch_distributions(parameters: list[tuple[float, float]]) -> None:
    mu, logvar = torch.tensor(parameters, dtype=torch.float64).T.reshape(2, 2, 3)  # B = 2, Z = 3
    posterior, prior = Normal(mu, torch.exp(0.5 * logvar)), Normal(0.0, 1.0)
    expected = reference_kl(posterior, prior)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)
    torch.testing.assert_close(kl_divergence(mu, logvar, "none"), expected.sum(1))
    torch.testing.assert_close(kl_divergence(mu, logvar, "mean"), expected.sum(1).mean())
    torch.testing.assert_close(kl_divergence(mu, logvar, "sum"), expected.sum())


@pytest.mark.parametrize(
    ("mu", "variance", "nats"),
    [
        (0.0, 1.0, 0.0),  # the prior itself
        (2.0, 1.0, 2.0),  # moved only: mu²/2
        (0.0, math.e, (math.e - 2) / 2),  # widened only
        (0.0, math.exp(-2), (math.exp(-2) + 1) / 2),  # narrowed only: costs, too
    ],
)
def test_kl_by_hand(mu: float, variance: float, nats: float) -> None:
    kl = kl_per_dimension(torch.tensor([[mu]]), torch.tensor([[math.log(variance)]]))
    assert kl.item() == pytest.approx(nats, rel=1e-6, abs=0)


def test_reductions_are_sums_over_dimensions() -> None:
    mu, logvar = random(4, 3), random(4, 3, seed=1)
    rows = [sum(kl_per_dimension(mu, logvar)[b, d].item() for d in range(3)) for b in range(4)]
    assert kl_divergence(mu, logvar, "none").tolist() == pytest.approx(rows)
    assert kl_divergence(mu, logvar, "mean").item() == pytest.approx(sum(rows) / 4)
    assert kl_divergence(mu, logvar).item() == pytest.approx(sum(rows))
    assert kl_per_dimension(mu[:, :0], logvar[:, :0]).shape == (4, 0)
    assert kl_divergence(mu[:, :0], logvar[:, :0], "none").tolist() == [0] * 4


@given(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
@example(1e-4, 1e-4)
@example(-1e-7, 1e-7)
def test_fp32_keeps_its_digits_near_the_prior(mu: float, logvar: float) -> None:
    # exp(logvar) − 1 − logvar is off by 6e-8 there, whatever the posterior; what is allowed here
    # is the rounding of logvar itself. The oracle is the Taylor series.
    m, v = torch.tensor([mu]), torch.tensor([logvar])
    kl = kl_per_dimension(m, v).item()
    mu, logvar = m.item(), v.item()
    exact = mu**2 / 2 + logvar**2 / 4 + logvar**3 / 12 + logvar**4 / 48
    assert kl >= 0
    assert kl == pytest.approx(exact, rel=1e-5, abs=1.2e-7 * abs(logvar) + 1e-37)


def test_kl_is_never_negative_in_fp32() -> None:
    logvar = torch.cat([-torch.logspace(-40, 1.5, 20_000), torch.logspace(-40, 1, 20_000)])
    assert kl_per_dimension(torch.zeros_like(logvar), logvar).min() == 0


def test_kl_gradients_are_those_of_the_formula() -> None:
    mu, logvar = random(4, 3).requires_grad_(), random(4, 3, seed=1).requires_grad_()
    kl_divergence(mu, logvar).backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    torch.testing.assert_close(mu.grad, mu.detach())
    torch.testing.assert_close(logvar.grad, (logvar.detach().exp() - 1) / 2)


def test_what_kl_refuses() -> None:
    # (2, 1) would broadcast in silence and count one variance three times.
    message = r"mu and logvar must have the same shape, got \(2, 3\) and \(2, 1\)"
    with pytest.raises(ValueError, match=message):
        kl_per_dimension(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=message):
        kl_divergence(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="one of sum, mean, none, got 'batchmean'"):
        kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3), "batchmean")
