"""The drop-in: the calls that the package's documentation shows, and the values it promises."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from tests.annealers.stepping import after, weights
from textvae.checks import InputError
from textvae.interop.vae_annealing import Annealer, VAELoss

lengths, counts = st.integers(1, 10**9), st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("shape", "baseline", "expected"),
    [
        ("linear", 0.0, [0, 0.25, 0.5, 0.75, 1, 1]),  # full weight after total_steps, then held
        ("linear", 0.2, [0.2, 0.4, 0.6, 0.8, 1, 1]),  # from the baseline up
        ("linear", 1.0, [1, 1, 1, 1, 1, 1]),  # a baseline of 1 leaves nothing to anneal
        ("cosine", 0.0, [0, 0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125), 1, 1]),
    ],
)
def test_package_table(shape, baseline, expected):
    assert weights(Annealer(4, shape, baseline), 6) == pytest.approx(expected)


def test_package_logistic_is_one_per_step_steep():
    annealer = Annealer(100, "logistic")
    for step in range(101):
        assert annealer.value_at(step) == pytest.approx(1 / (1 + math.exp(50 - step)), abs=1e-15)


SHAPES = st.sampled_from(["linear", "cosine", "logistic"])


@given(lengths, counts, SHAPES, st.floats(0, 1), st.booleans())
@example(1420, 0, "logistic", 0.1, False)  # from here on the package's own overflows
def test_package_stays_between_baseline_and_1(total_steps, step, shape, baseline, cyclical):
    annealer = Annealer(total_steps, shape, baseline, cyclical)
    assert annealer.value_at(0) == baseline
    assert baseline <= annealer.value_at(step) <= 1.0
    annealer.set_cyclical(False)
    assert annealer.value_at(total_steps) == 1.0


@pytest.mark.parametrize(("cyclical", "counter"), [(False, [1, 2, 3, 3]), (True, [1, 2, 0, 1])])
def test_package_counter_stops_or_starts_again(cyclical, counter):
    annealer = Annealer(3, cyclical=cyclical)
    assert [after(annealer, 1).current_step for _ in counter] == counter


def test_package_cycles_can_be_switched_off_and_on():
    annealer = Annealer(2, cyclical=True)
    assert weights(annealer, 3) == [0, 0.5, 0]  # cycling
    annealer.set_cyclical(False)
    assert weights(annealer, 3) == [0.5, 1, 1]  # goes on from where it is, and holds
    assert annealer.finished
    annealer.cyclical_setter(True)
    assert not annealer.finished
    assert annealer.value == 1.0  # the coming batch still sees the weight that was held
    assert annealer.value_at(annealer.current_step) == 0.0  # a fresh one would have started again
    assert weights(annealer, 4) == [1, 0, 0.5, 0]


def test_package_state_holds_the_switch():
    annealer = Annealer(2, cyclical=True)
    annealer.set_cyclical(False)
    resumed = Annealer(2, cyclical=True)
    resumed.load_state_dict(annealer.state_dict())
    assert weights(resumed, 4) == [0, 0.5, 1, 1]
    with pytest.raises(TypeError, match="cyclical must be True or False, got 1"):
        resumed.load_state_dict({"current_step": 0, "cyclical": 1})
    assert resumed.current_step == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Annealer(0), "total_steps must be at least 1, got 0"),
        (lambda: Annealer(10, "sigmoid"), "shape must be .* cosine, logistic, got 'sigmoid'"),
        (lambda: Annealer(10, baseline=1.7), r"baseline must be in \[0, 1\], got 1\.7"),
        (lambda: Annealer(10, cyclical=1), "cyclical must be True or False, got 1"),
        (lambda: Annealer(10, disable="no"), "disable must be True or False, got 'no'"),
        (lambda: Annealer(10).set_cyclical(0), "value must be True or False, got 0"),
    ],
)
def test_package_refusals(call, message):
    with pytest.raises(TypeError if "True or False" in message else InputError, match=message):
        call()


def test_package_disabled_returns_its_argument():
    kl = object()
    assert after(Annealer(4, baseline=0.5, disable=True), 3)(kl) is kl


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
