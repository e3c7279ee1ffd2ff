"""Tests of `textvae.losses`."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from textvae.losses import (
    elbo_terms,
    free_bits_per_dimension,
    kl_divergence,
    kl_per_dimension,
    token_nll,
)

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
    with pytest.raises(ValueError, match="one of 'sum', 'mean', 'none', got 'batchmean'"):
        kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3), "batchmean")


KL_TABLE = torch.tensor(
    [
        # dimension 0: both under, 1: both over, 2: one over, mean over, 3: one over, mean under
        [0.1, 2.0, 3.0, 0.6],
        [0.3, 4.0, 0.2, 0.2],
    ]
)


@pytest.mark.parametrize(
    ("floor", "value", "through"),
    [
        (0.0, 0.2 + 3.0 + 1.6 + 0.4, [1, 1, 1, 1]),  # no floor: the plain KL
        (0.3, 0.3 + 3.0 + 1.6 + 0.4, [0, 1, 1, 1]),  # the lowest dimension costs the floor
        (0.5, 0.5 + 3.0 + 1.6 + 0.5, [0, 1, 1, 0]),  # 0.6 in one sentence does not save its mean
        (1.0, 1.0 + 3.0 + 1.6 + 1.0, [0, 1, 1, 0]),  # 0.2 in one sentence does not sink its mean
        (9.0, 4 * 9.0, [0, 0, 0, 0]),  # all under: a constant, nothing is pushed to the prior
    ],
)
def test_free_bits_by_hand(floor: float, value: float, through: list[int]) -> None:
    kl = KL_TABLE.clone().requires_grad_()
    total = free_bits_per_dimension(kl, floor)
    total.backward()
    assert total.item() == pytest.approx(value)
    assert kl.grad is not None
    assert kl.grad.tolist() == [[x / 2 for x in through]] * 2  # mean over two sentences


def test_free_bits_on_the_batch_mean_are_neither_per_sentence_nor_total() -> None:
    value = free_bits_per_dimension(KL_TABLE, 0.5).item()
    per_sentence = KL_TABLE.clamp_min(0.5).sum(1).mean().item()
    total = KL_TABLE.sum(1).mean().clamp_min(0.5 * 4).item()
    assert abs(value - per_sentence) > 0.05
    assert abs(value - total) > 0.05


@few
@given(
    st.integers(1, 5).flatmap(
        lambda z: st.lists(
            st.lists(st.floats(0, 20), min_size=z, max_size=z), min_size=1, max_size=6
        )
    ),
    st.floats(0, 10),
)
def test_free_bits_equal_a_plain_loop(rows: list[list[float]], floor: float) -> None:
    kl = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    total = free_bits_per_dimension(kl, floor)
    total.backward()
    assert kl.grad is not None
    expected = 0.0
    for d, column in enumerate(zip(*rows, strict=True)):
        mean = sum(column) / len(rows)
        expected += max(floor, mean)
        if not math.isclose(mean, floor, rel_tol=1e-9):  # at the kink any subgradient will do
            share = 1 / len(rows) if mean > floor else 0.0
            assert kl.grad[:, d].tolist() == pytest.approx([share] * len(rows))
    assert total.item() == pytest.approx(expected)


@pytest.mark.parametrize("floor", [-0.1, math.nan])
def test_free_bits_refuse_a_floor_below_zero(floor: float) -> None:
    message = f"free_bits must be at least 0 nats per dimension, got {floor}"
    with pytest.raises(ValueError, match=message):
        free_bits_per_dimension(KL_TABLE, floor)
    with pytest.raises(ValueError, match=message):
        elbo_terms(torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 3), free_bits=floor)


def test_elbo_terms_are_means_over_sentences() -> None:
    rec, mu, logvar = random(5).abs(), random(5, 3), random(5, 3, seed=1)
    terms = elbo_terms(rec, mu, logvar)
    kls = [kl_per_dimension(mu[b], logvar[b]).sum().item() for b in range(5)]
    assert terms.rec.item() == pytest.approx(sum(rec.tolist()) / 5)
    assert terms.kl.item() == pytest.approx(sum(kls) / 5)
    assert terms.kl_objective.item() == terms.kl.item()


def test_elbo_terms_keep_their_scale_when_the_batch_is_repeated_or_permuted() -> None:
    rec, mu, logvar = random(5).abs(), random(5, 3), random(5, 3, seed=1)
    once = torch.stack(elbo_terms(rec, mu, logvar, free_bits=0.4))
    order = torch.tensor([3, 0, 4, 1, 2])
    for rows in (order, torch.arange(5).repeat(3)):
        again = torch.stack(elbo_terms(rec[rows], mu[rows], logvar[rows], free_bits=0.4))
        torch.testing.assert_close(again, once)


def test_free_bits_change_the_objective_and_not_the_raw_kl() -> None:
    mu, logvar = random(5, 3) * 0.1, torch.zeros(5, 3, dtype=torch.float64)
    plain, floored = (elbo_terms(random(5), mu, logvar, free_bits=bits) for bits in (0.0, 0.5))
    assert floored.kl.item() == plain.kl.item() < 0.1
    assert floored.kl_objective.item() == pytest.approx(3 * 0.5)


def test_terms_of_a_language_model_have_no_kl() -> None:
    nothing = torch.zeros(4, 0)
    for bits in (0.0, 0.5):
        terms = elbo_terms(torch.ones(4), nothing, nothing, free_bits=bits)
        assert [term.item() for term in terms] == [1, 0, 0]


def test_elbo_terms_refuse_shapes_that_disagree() -> None:
    # Token sums of two sentences and codes of three would give means of different things.
    with pytest.raises(ValueError, match=r"each of the 3 sentences of mu, got shape \(2,\)"):
        elbo_terms(torch.zeros(2), torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"each of the 3 sentences of mu, got shape \(3, 7\)"):
        elbo_terms(torch.zeros(3, 7), torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"the same shape, got \(3, 4\) and \(4,\)"):
        elbo_terms(torch.zeros(3), torch.zeros(3, 4), torch.zeros(4))


def output_layer(
    tokens: int, hidden: int, vocabulary: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    targets = torch.randint(
        vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed + 4)
    )
    tensors = (
        random(tokens, hidden, seed=seed + 1, dtype=dtype),
        random(vocabulary, hidden, seed=seed + 2, dtype=dtype),
        random(vocabulary, seed=seed + 3, dtype=dtype),
    )
    return *(tensor.requires_grad_() for tensor in tensors), targets


def expected_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T + bias, targets, reduction="none")


@few
@given(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(2, 9),
    st.sampled_from([1, 8, 30, 2**25]),
    st.integers(0, 1000),
)
@example(300, 3, 4, 2**25, 0)  # more tokens than one pass through the cache takes
@example(256, 3, 4, 2**25, 0)
@example(300, 3, 4, 280 * 4, 0)
def test_token_nll_equals_cross_entropy(
    tokens: int, hidden: int, vocabulary: int, max_scores: int, seed: int
) -> None:
    *inputs, targets = output_layer(tokens, hidden, vocabulary, seed)
    upstream = random(tokens, seed=seed + 5)  # any gradient, of either sign
    nll = token_nll(*inputs, targets, max_scores=max_scores)
    gradients = torch.autograd.grad(nll, inputs, upstream)
    expected = expected_nll(*inputs, targets)
    torch.testing.assert_close(nll, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, upstream))
    with torch.no_grad():
        torch.testing.assert_close(token_nll(*inputs, targets, max_scores=max_scores), expected)


@pytest.mark.parametrize("max_scores", [1, 12])
def test_token_nll_passes_gradcheck(max_scores: int) -> None:
    *inputs, targets = output_layer(5, 3, 4, seed=7)
    assert torch.autograd.gradcheck(
        lambda *tensors: token_nll(*tensors, targets, max_scores=max_scores), inputs
    )


def test_numeric_gradients_of_the_unchunked_path() -> None:
    *inputs, targets = output_layer(5, 3, 4, seed=7)
    upstream = random(5, seed=8)
    gradients = torch.autograd.grad(token_nll(*inputs, targets), inputs, upstream)
    step = 1e-6
    for tensor, gradient in zip(inputs, gradients, strict=True):
        numeric = torch.zeros_like(tensor)
        for place in range(tensor.numel()):
            with torch.no_grad():
                tensor.view(-1)[place] += step
                above = (token_nll(*inputs, targets) * upstream).sum()
                tensor.view(-1)[place] -= 2 * step
                below = (token_nll(*inputs, targets) * upstream).sum()
                tensor.view(-1)[place] += step
            numeric.view(-1)[place] = (above - below) / (2 * step)
        torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-8)


def test_a_second_backward_pass_is_right_or_refused() -> None:
    *inputs, targets = output_layer(5, 3, 4, seed=7)
    nll = token_nll(*inputs, targets).sum()
    first = torch.autograd.grad(nll, inputs, retain_graph=True)
    try:
        second = torch.autograd.grad(nll, inputs)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(second, first)


def test_tokens_that_do_not_count_get_no_gradient() -> None:
    *inputs, targets = output_layer(6, 3, 4, seed=2)
    upstream = torch.tensor([1.0, 0, 1, 0, 0, 2], dtype=torch.float64)
    (d_hidden,) = torch.autograd.grad(token_nll(*inputs, targets), inputs[:1], upstream)
    assert (d_hidden.abs().sum(1) > 0).tolist() == (upstream != 0).tolist()


def test_only_the_tensors_that_ask_get_a_gradient() -> None:
    hidden, weight, bias, targets = output_layer(6, 3, 4, seed=2)
    token_nll(hidden.detach(), weight, bias.detach(), targets).sum().backward()
    assert weight.grad is not None
    assert (hidden.grad, bias.grad) == (None, None)


def test_large_scores_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    nll = token_nll(hidden, weight, bias, torch.tensor([0, 0]))
    nll.sum().backward()
    assert nll.tolist() == [0, 2e4]
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_chunks_hold_no_more_scores_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    one_pass = torch.nn.functional.linear
    monkeypatch.setattr(F, "linear", lambda h, w, b: seen.append(len(h)) or one_pass(h, w, b))
    *inputs, targets = output_layer(11, 3, 4, seed=2)
    with torch.no_grad():
        token_nll(*inputs, targets, max_scores=13)
        token_nll(*inputs, targets, max_scores=3)  # less than one token's scores
    assert seen == [3, 3, 3, 2] + [1] * 11


@pytest.mark.parametrize("max_scores", [2**25, 200])
def test_autocast_comes_close_and_stays_fp32(max_scores: int) -> None:
    *inputs, targets = output_layer(40, 16, 30, seed=3, dtype=torch.float32)
    with torch.no_grad():
        for tensor in inputs:
            tensor.mul_(0.5)
    expected = expected_nll(*inputs, targets)
    expected_gradients = torch.autograd.grad(expected.sum(), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll = token_nll(*inputs, targets, max_scores=max_scores)
        with torch.no_grad():
            without_graph = token_nll(*inputs, targets, max_scores=max_scores)
    gradients = torch.autograd.grad(nll.sum(), inputs)
    assert nll.dtype == without_graph.dtype == torch.float32
    torch.testing.assert_close(nll, expected, rtol=0.02, atol=0.05)
    torch.testing.assert_close(without_graph, expected, rtol=0.02, atol=0.05)
    for gradient, exact in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - exact).norm() < 0.02 * exact.norm()
    assert nll.ne(expected).any(), "autocast was not in effect"


def test_fp32_results_are_fp32() -> None:
    *inputs, targets = output_layer(4, 3, 5, seed=3, dtype=torch.float32)
    assert token_nll(*inputs, targets).dtype == torch.float32


def test_token_nll_may_be_differentiated_twice_over() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    nll = token_nll(hidden, torch.randn(5, 4), torch.zeros(5), torch.tensor([0, 2, 4])).sum()
    (first,) = torch.autograd.grad(nll, hidden, retain_graph=True)
    (again,) = torch.autograd.grad(nll, hidden)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
