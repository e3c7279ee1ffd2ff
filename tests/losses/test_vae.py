"""Tests of `textvae.losses.vae`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from textvae.annealers import LinearAnnealer
from textvae.losses import (
    FREE_BITS,
    RECONSTRUCTIONS,
    VAELoss,
    VAETerms,
    beta_vae_loss,
    kl_per_dimension,
    nats_per_dimension,
    vae_loss,
    vae_loss_free_bits,
)

few = settings(max_examples=30)


def case(seed: int = 0, batch: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reconstruction, data (B, 6), mu and logvar (B, 3)."""
    generator = torch.Generator().manual_seed(seed)
    recon, x = (torch.rand(2, batch, 6, generator=generator, dtype=torch.float64)).unbind()
    mu, logvar = torch.randn(2, batch, 3, generator=generator, dtype=torch.float64).unbind()
    return recon, x, mu, logvar


def oracle(seed: int) -> tuple[float, Tensor]:
    """BCE summed over everything, and KL of each example and dimension."""
    recon, x, mu, logvar = case(seed)
    bce = F.binary_cross_entropy(recon, x, reduction="sum").item()
    return bce, reference_kl(Normal(mu, torch.exp(0.5 * logvar)), Normal(0.0, 1.0))


def plain(terms: VAETerms) -> list[float]:
    return [term.item() for term in terms]


@few
@given(st.integers(0, 1000), st.floats(0, 10), st.floats(0, 3))
def test_sums_and_means_equal_the_oracles(seed: int, beta: float, floor: float) -> None:
    bce, kls = oracle(seed)
    kl, clamped = kls.sum().item(), kls.clamp_min(floor).sum().item()
    tensors = case(seed)
    for reduction, scale in (("sum", 1), ("mean", 1 / 4)):
        for terms, total in (
            (vae_loss(*tensors, reduction), bce + kl),
            (beta_vae_loss(*tensors, beta, reduction), bce + beta * kl),
            (vae_loss_free_bits(*tensors, floor, reduction), bce + clamped),
            (VAELoss("bce", beta, floor, reduction)(*tensors), bce + beta * clamped),
        ):
            expected = [scale * value for value in (total, bce, kl)]
            assert plain(terms) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_defaults_are_those_of_the_textbook() -> None:
    bce, kls = oracle(0)
    kl, clamped = kls.sum().item(), kls.clamp_min(0.1).sum().item()
    assert clamped > kl
    assert vae_loss(*case()).total.item() == pytest.approx(bce + kl)
    assert beta_vae_loss(*case()).total.item() == pytest.approx(bce + 4 * kl)
    assert vae_loss_free_bits(*case()).total.item() == pytest.approx(bce + clamped)
    assert VAELoss()(*case()).total.item() == pytest.approx(bce + kl)


def test_terms_have_names_and_unpack() -> None:
    terms = VAELoss(reconstruction_type="bce", beta=4.0, free_bits=0.1)(*case())
    total_loss, recon_loss, kl_loss = terms
    assert (terms.total, terms.recon, terms.kl) == (total_loss, recon_loss, kl_loss)


def test_the_third_value_is_the_raw_kl_and_the_floored_one_is_in_the_total() -> None:
    recon, x, mu, _ = case()
    collapsed = torch.zeros_like(mu)
    terms = vae_loss_free_bits(recon, x, collapsed, collapsed, 0.5, "mean")
    assert terms.kl.item() == 0
    assert (terms.total - terms.recon).item() == pytest.approx(3 * 0.5)


@pytest.mark.parametrize("kind", FREE_BITS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_kind_of_free_bits_scales_with_the_reconstruction(kind: str, reduction: str) -> None:
    tensors = case()
    floored = FREE_BITS[kind](kl_per_dimension(*tensors[2:]), 0.4).item()
    scale = 4 if reduction == "sum" else 1
    loss = VAELoss("bce", 2.0, 0.4, reduction, free_bits_kind=kind)
    assert loss.kl_loss(*tensors[2:]).item() == pytest.approx(scale * floored)
    terms = loss(*tensors)
    assert terms.total.item() == pytest.approx(terms.recon.item() + 2 * scale * floored)
    assert terms.kl.item() == pytest.approx(scale * oracle(0)[1].sum().item() / 4)
    same = vae_loss_free_bits(*tensors, 0.4, reduction, free_bits_kind=kind)
    assert same.total.item() == pytest.approx(terms.recon.item() + scale * floored)


def test_the_mean_does_not_know_the_batch_size() -> None:
    tensors = case()
    twice = [tensor.repeat(2, 1) for tensor in tensors]
    for loss in (VAELoss(free_bits=0.4, reduction="mean"), VAELoss("mse", 3.0, reduction="mean")):
        assert plain(loss(*twice)) == pytest.approx(plain(loss(*tensors)))


def test_the_reduction_does_not_change_the_balance_of_the_terms() -> None:
    summed, mean = (vae_loss(*case(), reduction) for reduction in ("sum", "mean"))
    assert (summed.kl / summed.recon).item() == pytest.approx((mean.kl / mean.recon).item())


def test_gradients_are_those_of_the_formula() -> None:
    recon, x, mu, logvar = (tensor.requires_grad_() for tensor in case())
    beta_vae_loss(recon, x.detach(), mu, logvar, beta=3.0).total.backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    assert recon.grad is not None
    torch.testing.assert_close(mu.grad, 3 * mu.detach())
    torch.testing.assert_close(logvar.grad, 1.5 * (logvar.detach().exp() - 1))
    slope = (recon - x) / (recon * (1 - recon))
    torch.testing.assert_close(recon.grad, slope.detach())


@pytest.mark.parametrize("kind", ["bce", "mse"])
def test_the_module_takes_data_of_any_shape(kind: str) -> None:
    recon, x, mu, logvar = case()
    flat = VAELoss(kind)(recon, x, mu, logvar)
    pictures = VAELoss(kind)(recon.view(4, 1, 2, 3), x.view(4, 1, 2, 3), mu, logvar)
    assert plain(pictures) == pytest.approx(plain(flat))
    assert flat.recon.item() == pytest.approx(RECONSTRUCTIONS[kind](recon, x, "sum").item())


def test_the_module_takes_tokens() -> None:
    mu, logvar = case()[2:]
    scores = torch.zeros(4, 2, 8, dtype=torch.float64)
    targets = torch.tensor([[1, 2], [3, -100], [4, 5], [6, 7]])
    terms = VAELoss("cross_entropy")(scores, targets, mu, logvar)
    assert terms.recon.item() == pytest.approx(7 * math.log(8))  # seven real tokens


def test_an_annealer_may_set_beta_or_weigh_the_floored_kl() -> None:
    recon, x, mu, logvar = case()
    annealer, criterion = LinearAnnealer(4), VAELoss(free_bits=0.4)
    floored = criterion.kl_loss(mu, logvar).item()
    for step in range(5):
        criterion.beta = annealer.value
        total, rec, _ = criterion(recon, x, mu, logvar)
        assert total.item() == pytest.approx(rec.item() + step / 4 * floored)
        loss = criterion.reconstruction_loss(recon, x) + annealer(criterion.kl_loss(mu, logvar))
        assert loss.item() == pytest.approx(total.item())
        annealer.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"reconstruction_type": "l1"},
            "reconstruction_type must be one of bce, mse, cross_entropy, got 'l1'",
        ),
        ({"reduction": "none"}, "reduction must be one of sum, mean, got 'none'"),
        ({"free_bits_kind": "min"}, "free_bits_kind must be one of batch, .*, got 'min'"),
        ({"beta": -1.0}, r"beta must be at least 0, got -1\.0"),
        ({"beta": math.nan}, "beta must be at least 0, got nan"),
        ({"free_bits": -0.1}, r"free_bits must be at least 0, got -0\.1"),
    ],
)
def test_options_are_checked_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VAELoss(**options)


def test_the_functions_check_their_options_too() -> None:
    with pytest.raises(ValueError, match="reduction must be one of sum, mean, got 'batch'"):
        vae_loss(*case(), "batch")
    with pytest.raises(ValueError, match="beta must be at least 0, got -4"):
        beta_vae_loss(*case(), -4)
    with pytest.raises(ValueError, match="free_bits must be at least 0, got -1"):
        vae_loss_free_bits(*case(), -1)
    criterion = VAELoss()
    criterion.beta = -0.5
    with pytest.raises(ValueError, match=r"beta must be at least 0, got -0\.5"):
        criterion(*case())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 6), (4, 5), (4, 3), (4, 3)], r"recon_x and x .* got \(4, 6\) and \(4, 5\)"),
        ([(4, 6), (4, 6), (3, 3), (3, 3)], r"x and mu .* got \(4, 6\) and \(3, 3\)"),
        ([(4, 6), (4, 6), (), ()], r"x and mu .* got \(4, 6\) and \(\)"),
        ([(4, 6), (4, 6), (4, 3), (4, 1)], r"mu and logvar .* got \(4, 3\) and \(4, 1\)"),
        # Summed over its last dimension, (B,) would be one example of four dimensions.
        ([(4, 6), (4, 6), (4,), (4,)], r"mu and logvar must be \(B, Z\), got \(4,\)"),
        ([(4, 6), (4, 6), (4, 2, 2), (4, 2, 2)], r"must be \(B, Z\), got \(4, 2, 2\)"),
    ],
)
def test_shapes_that_disagree_are_both_named(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vae_loss(*(torch.full(shape, 0.5) for shape in shapes))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, r"recon_x and x must lie in \[0, 1\], got recon_x from nan"),
        (1, r"recon_x and x must lie in \[0, 1\], .* and x from nan"),
        (2, "mu and logvar must hold no NaN, got 1 in mu and 0 in logvar"),
        (3, "mu and logvar must hold no NaN, got 0 in mu and 1 in logvar"),
    ],
)
def test_nan_is_refused_wherever_it_is(place: int, message: str) -> None:
    tensors = case()
    tensors[place][1, 2] = math.nan
    with pytest.raises(ValueError, match=message):
        vae_loss(*tensors)


def test_the_module_says_what_it_is() -> None:
    assert repr(VAELoss("mse", free_bits=0.1)) == (
        "VAELoss(reconstruction_type='mse', beta=1.0, free_bits=0.1, reduction='sum', "
        "free_bits_kind='max')"
    )


def test_nats_per_dimension() -> None:
    # 784 pixels at 0.1 nats and 32 dimensions at half a nat.
    assert nats_per_dimension(78.4, 16.0, 784, 32) == pytest.approx((0.1, 0.5))
    # Two sentences of 10 and 30 tokens that cost 40 and 80 nats: three nats a token.
    per = nats_per_dimension(torch.tensor(60.0), torch.tensor(4.0), 20, 2)
    assert (per.recon.item(), per.kl.item()) == (3, 2)
    with pytest.raises(ValueError, match="data_dim must be above 0, got 0"):
        nats_per_dimension(1.0, 1.0, 0, 32)
    with pytest.raises(ValueError, match="latent_dim must be above 0, got 0"):
        nats_per_dimension(1.0, 1.0, 784, 0)
