"""The drop-in: the calls that the package's documentation shows, and the values it promises."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from textvae.interop.vae_annealing import VAELoss

rows = st.integers(1, 4)


@given(rows, rows, rows, st.integers(0, 1000))
def test_loss_agrees_with_torch_distributions(batch, pixels, latents, seed):
    generator = torch.Generator().manual_seed(seed)
    x, x0 = torch.rand(2, batch, 2, pixels, generator=generator, dtype=torch.float64)
    x0 = x0.round()
    mu, logvar = torch.randn(2, batch, latents, generator=generator, dtype=torch.float64)
    bce, kld = VAELoss()(x, x0, mu, logvar)
    posterior, prior = Normal(mu, (0.5 * logvar).exp()), Normal(0.0, torch.ones(latents).double())
    assert bce.item() == pytest.approx(-Bernoulli(x).log_prob(x0).sum().item(), rel=1e-9)
    assert kld.item() == pytest.approx(kl_divergence(posterior, prior).sum().item(), rel=1e-9)


HALF, MU = torch.full((2, 3), 0.5), torch.zeros(2, 1)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_pictures_may_be_of_any_type(kind):
    bce, _ = VAELoss()(HALF, torch.ones(2, 3, dtype=kind), MU, MU)
    assert bce.item() == pytest.approx(6 * math.log(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((HALF, HALF[:, :2], MU, MU), r"the same shape, .* got \(2, 3\), \(2, 2\), \(2, 1\)"),
        # It would broadcast.
        ((HALF, HALF, MU[:1], MU[:1]), r"mu as many rows, got \(2, 3\), \(2, 3\), \(1, 1\)"),
        ((HALF, HALF, MU, MU[:1]), r"mu and logvar must have the same shape, got \(2, 1\)"),
        ((HALF + 0.75, HALF, MU, MU), r"x must be in \[0, 1\], got 1\.25"),
        ((HALF, HALF - 1, MU, MU), r"x0 must be in \[0, 1\], got -0\.5"),
        ((HALF, HALF * 510, MU, MU), r"x0 must be in \[0, 1\], got 255\.0"),
        ((HALF * math.nan, HALF, MU, MU), r"x must be in \[0, 1\], got nan"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        VAELoss()(*arguments)
