"""Losses of any VAE with a Gaussian posterior, against torch.distributions and sums by hand."""

import math
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal
from torch.distributions import kl_divergence as reference_kl

from tests.draws import draws64
from textvae.annealers import LinearAnnealer
from textvae.losses import (
    FREE_BITS,
    VAELoss,
    VAETerms,
    bce_reconstruction,
    beta_vae_loss,
    cross_entropy_reconstruction,
    kl_divergence,
    kl_per_dimension,
    mse_reconstruction,
    nats_per_dimension,
    vae_loss,
    vae_loss_free_bits,
)

few = settings(max_examples=30)
seeds = st.integers(0, 1000)

Loss = Callable[[Tensor, Tensor], Tensor]


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return reference_kl(Normal(mu, torch.exp(0.5 * logvar)), Normal(0.0, 1.0))


@few
@given(st.lists(st.tuples(st.floats(-6, 6), st.floats(-12, 6)), min_size=6, max_size=6))
def test_kl_equals_torch_distributions(parameters):
    mu, logvar = torch.tensor(parameters, dtype=torch.float64).T.reshape(2, 2, 3)  # B = 2, Z = 3
    expected = gaussian_kl(mu, logvar)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)
    torch.testing.assert_close(kl_divergence(mu, logvar, "none"), expected.sum(1))
    torch.testing.assert_close(kl_divergence(mu, logvar, "mean"), expected.sum(1).mean())
    torch.testing.assert_close(kl_divergence(mu, logvar), expected.sum())


@given(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
@example(1e-4, 1e-4)
@example(-1e-7, 1e-7)
def test_fp32_keeps_its_digits_near_the_prior(mu, logvar):
    # exp(logvar) − 1 − logvar is off by 6e-8 there, whatever the posterior; what is allowed here
    # is the rounding of logvar itself. The oracle is the Taylor series.
    m, v = torch.tensor([mu]), torch.tensor([logvar])
    kl = kl_per_dimension(m, v).item()
    mu, logvar = m.item(), v.item()
    exact = mu**2 / 2 + logvar**2 / 4 + logvar**3 / 12 + logvar**4 / 48
    assert kl >= 0
    assert kl == pytest.approx(exact, rel=1e-5, abs=1.2e-7 * abs(logvar) + 1e-37)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="one of sum, mean, none, got 'batchmean'"):
        kl_divergence(torch.ones(2, 3), torch.ones(2, 3), "batchmean")


@few
@given(seeds, st.sampled_from([(3,), (3, 4), (2, 1, 3, 3)]))
def test_bce_and_mse_equal_their_oracles(seed, shape):
    recon, x = draws64(*shape, seed=seed), draws64(*shape, seed=seed + 1)
    share, coins = recon.sigmoid(), (x > 0).double()
    expected = -Bernoulli(share).log_prob(coins).reshape(len(x), -1).sum(1)
    torch.testing.assert_close(bce_reconstruction(share, coins, "none"), expected)
    whole = F.binary_cross_entropy(share, x.sigmoid(), reduction="sum")
    torch.testing.assert_close(bce_reconstruction(share, x.sigmoid()), whole)
    torch.testing.assert_close(bce_reconstruction(share, x.sigmoid(), "mean"), whole / len(x))

    error = mse_reconstruction(recon, x)
    torch.testing.assert_close(error, F.mse_loss(recon, x, reduction="sum"))
    torch.testing.assert_close(mse_reconstruction(recon, x, "mean"), error / len(x))
    rows = torch.stack([((recon[b] - x[b]) ** 2).sum() for b in range(len(x))])
    torch.testing.assert_close(mse_reconstruction(recon, x, "none"), rows)
    constant = 0.5 * math.log(math.pi) * x.numel()
    half = Normal(recon, math.sqrt(0.5))
    torch.testing.assert_close(error, -half.log_prob(x).sum() - constant)


def test_sure_and_wrong_is_dear_but_finite():
    recon = torch.tensor([[0.0]], requires_grad=True)
    loss = bce_reconstruction(recon, torch.tensor([[1.0]]))
    assert loss.item() == 100
    assert torch.autograd.grad(loss, recon)[0].isfinite()


@pytest.mark.parametrize(
    ("recon", "x", "name", "found"),
    [
        ([0.5, -0.5], [0.0, 1.0], "recon_x", r"-0\.5 to 0\.5"),
        ([0.5, 1.5], [0.0, 1.0], "recon_x", r"0\.5 to 1\.5"),
        ([0.5, 0.5], [0.0, 255.0], "x", r"0\.0 to 255\.0"),
        ([0.5, 0.5], [-1.0, 1.0], "x", r"-1\.0 to 1\.0"),
        ([0.5, math.nan], [0.0, 1.0], "recon_x", "nan to nan"),
    ],
)
def test_bce_refuses_what_is_no_probability(recon, x, name, found):
    with pytest.raises(ValueError, match=rf"^{name} must lie in \[0, 1\], got .* {found}$"):
        bce_reconstruction(torch.tensor([recon], requires_grad=True), torch.tensor([x]))


@pytest.mark.parametrize("function", [bce_reconstruction, mse_reconstruction])
@pytest.mark.parametrize(
    ("recon", "x"),
    [((2, 3), (2, 1)), ((2, 3), (3,)), ((2, 3), (6,)), ((), ()), ((0, 3), (0, 3))],
)
def test_shapes_that_disagree(function, recon, x):
    with pytest.raises(ValueError, match=r"same shape .* and not be empty, got") as caught:
        function(torch.zeros(recon), torch.zeros(x))
    assert str(caught.value).endswith(f"got {recon} and {x}")


def text(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, T, V), targets (B, T) and lengths (B,)."""
    targets = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(seed))
    return draws64(3, 4, 5, seed=seed), targets, torch.tensor([4, 1, 0])


@few
@given(seeds)
def test_cross_entropy_equals_its_oracles(seed):
    scores, targets, lengths = text(seed)
    nll = -Categorical(logits=scores).log_prob(targets)
    rows = [nll[b, : lengths[b]].sum().item() for b in range(3)]
    by_length = cross_entropy_reconstruction(scores, targets, "none", lengths=lengths)
    assert by_length.tolist() == pytest.approx(rows, abs=1e-9)
    torch.testing.assert_close(cross_entropy_reconstruction(scores, targets, "none"), nll.sum(1))
    real = torch.arange(4) < lengths[:, None]
    by_id = cross_entropy_reconstruction(scores, targets.where(real, 7), "none", padding_id=7)
    torch.testing.assert_close(by_id, by_length)
    mean = cross_entropy_reconstruction(scores, targets, "mean", lengths=lengths)
    assert mean.item() == pytest.approx(sum(rows) / 3)
    by_default = cross_entropy_reconstruction(scores, targets.where(real, -100))
    assert by_default.item() == pytest.approx(sum(rows))


def test_what_cross_entropy_refuses():
    scores, targets, _ = text()
    for wrong, message in (
        ((scores, targets[:, :3]), r"got \(3, 4, 5\) and \(3, 3\)"),
        ((scores.flatten(0, 1), targets.flatten()), r"got \(12, 5\) and \(12,\)"),
        ((scores, targets.masked_fill(targets == 2, 5)), r"from 0 to 4, or .* \(-100\), got 5"),
        ((scores, targets.masked_fill(targets == 2, -1)), r"from 0 to 4, or .*, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            cross_entropy_reconstruction(*wrong)
    for lengths in ([4, 1], [4, 1, 5], [4, 1, -1], [[4], [1], [1]]):
        message = rf"3 numbers between 0 and the 4 tokens of targets, got {re.escape(str(lengths))}"
        with pytest.raises(ValueError, match=message):
            cross_entropy_reconstruction(scores, targets, lengths=torch.tensor(lengths))


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reconstruction, data (B, 6), mu and logvar (B, 3), for B = 4."""
    shares = draws64(2, 4, 6, seed=seed).sigmoid()
    return *shares.unbind(), *draws64(2, 4, 3, seed=seed + 1).unbind()


def oracle(seed: int = 0) -> tuple[float, Tensor]:
    """BCE summed over everything, and KL of each example and dimension."""
    recon, x, mu, logvar = case(seed)
    return F.binary_cross_entropy(recon, x, reduction="sum").item(), gaussian_kl(mu, logvar)


def plain(terms: VAETerms) -> list[float]:
    return [term.item() for term in terms]


@few
@given(seeds, st.floats(0, 10), st.floats(0, 3))
def test_sums_and_means_equal_the_oracles(seed, beta, floor):
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


@pytest.mark.parametrize("kind", FREE_BITS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_kind_of_free_bits_scales_with_the_reconstruction(kind, reduction):
    tensors = case()
    scale = 4 if reduction == "sum" else 1
    floored = scale * FREE_BITS[kind](kl_per_dimension(*tensors[2:]), 0.4).item()
    loss = VAELoss("bce", 2.0, 0.4, reduction, free_bits_kind=kind)
    assert loss.kl_loss(*tensors[2:]).item() == pytest.approx(floored)
    total, recon, kl = plain(loss(*tensors))
    assert total == pytest.approx(recon + 2 * floored)
    assert kl == pytest.approx(scale * oracle()[1].sum().item() / 4)  # raw
    same = vae_loss_free_bits(*tensors, 0.4, reduction, free_bits_kind=kind)
    assert same.total.item() == pytest.approx(recon + floored)


def test_the_module_takes_tokens():
    scores = torch.zeros(4, 2, 8, dtype=torch.float64)
    targets = torch.tensor([[1, 2], [3, -100], [4, 5], [6, 7]])
    terms = VAELoss("cross_entropy")(scores, targets, *case()[2:])
    assert terms.recon.item() == pytest.approx(7 * math.log(8))  # seven real tokens


def test_an_annealer_may_set_beta_or_weigh_the_floored_kl():
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
    criterion.beta = -0.5
    with pytest.raises(ValueError, match=r"beta must be at least 0, got -0\.5"):
        criterion(recon, x, mu, logvar)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction_type": "l1"}, "one of bce, mse, cross_entropy, got 'l1'"),
        ({"reduction": "none"}, "reduction must be one of sum, mean, got 'none'"),
        ({"free_bits_kind": "min"}, "free_bits_kind must be one of batch, .*, got 'min'"),
        ({"beta": -1.0}, r"beta must be at least 0, got -1\.0"),
        ({"beta": math.nan}, "beta must be at least 0, got nan"),
        ({"free_bits": -0.1}, r"free_bits must be at least 0, got -0\.1"),
    ],
)
def test_options_are_checked_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        VAELoss(**options)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 6), (4, 6), (3, 3), (3, 3)], r"x and mu .* got \(4, 6\) and \(3, 3\)"),
        ([(4, 6), (4, 6), (), ()], r"x and mu .* got \(4, 6\) and \(\)"),
        # It would broadcast in silence and count one variance three times.
        ([(4, 6), (4, 6), (4, 3), (4, 1)], r"mu and logvar .* got \(4, 3\) and \(4, 1\)"),
        # Summed over its last dimension, (B,) would be one example of four dimensions.
        ([(4, 6), (4, 6), (4,), (4,)], r"mu and logvar must be \(B, Z\), got \(4,\)"),
    ],
)
def test_shapes_that_disagree_are_both_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        vae_loss(*(torch.full(shape, 0.5) for shape in shapes))


@pytest.mark.parametrize("place", range(4))
def test_nan_comes_through(place):
    tensors = case()
    tensors[place][1, 2] = math.nan
    for kind in (None, *FREE_BITS):
        criterion = VAELoss("mse", free_bits=kind and 0.5, free_bits_kind=kind or "max")
        assert criterion(*tensors).total.isnan()


def test_nats_per_dimension():
    # 784 pixels at 0.1 nats and 32 dimensions at half a nat.
    assert nats_per_dimension(78.4, 16.0, 784, 32) == pytest.approx((0.1, 0.5))
    # Two sentences of 10 and 30 tokens that cost 40 and 80 nats: three nats a token.
    assert nats_per_dimension(torch.tensor(60.0), torch.tensor(4.0), 20, 2) == (3, 2)
    for sizes, message in (((0, 32), r"data_dim .* got 0\.0"), ((784, 0), "latent_dim .* got 0")):
        with pytest.raises(ValueError, match=message):
            nats_per_dimension(1.0, 1.0, *sizes)
