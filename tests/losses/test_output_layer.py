"""Tests of `textvae.losses.output_layer`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.draws import draws, draws64
from textvae.losses import output_layer as tokens
from textvae.losses import token_nll

few = settings(max_examples=40)


def output_layer(
    tokens: int, hidden: int, vocabulary: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    targets = torch.randint(
        vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed + 4)
    )
    tensors = (
        draws(tokens, hidden, seed=seed + 1, dtype=dtype),
        draws(vocabulary, hidden, seed=seed + 2, dtype=dtype),
        draws(vocabulary, seed=seed + 3, dtype=dtype),
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
    upstream = draws64(tokens, seed=seed + 5)  # any gradient, of either sign
    nll = token_nll(*inputs, targets, max_scores=max_scores)
    gradients = torch.autograd.grad(nll, inputs, upstream)
    expected = expected_nll(*inputs, targets)
    torch.testing.assert_close(nll, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, upstream))
    with torch.no_grad():
        torch.testing.assert_close(token_nll(*inputs, targets, max_scores=max_scores), expected)


@pytest.mark.parametrize("max_scores", [1, 12, 2**25])
def test_a_second_backward_pass_gives_the_same(max_scores: int) -> None:
    *inputs, targets = output_layer(5, 3, 4, seed=7)
    nll = token_nll(*inputs, targets, max_scores=max_scores).sum()
    first = torch.autograd.grad(nll, inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(nll, inputs), first, rtol=0, atol=0)


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
    monkeypatch.setattr(F, "linear", lambda h, w, b=None: seen.append(len(h)) or one_pass(h, w, b))
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


def test_training_multiplies_no_more_scores_than_memory_is_kept_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *inputs, targets = output_layer(12, 1, 4, seed=2)
    upstream = draws64(12, seed=3)
    seen, of_part = [], tokens._softmax
    monkeypatch.setattr(
        tokens, "_softmax", lambda p, *rest: seen.append(len(p)) or of_part(p, *rest)
    )
    expected = torch.autograd.grad(expected_nll(*inputs, targets), inputs, upstream)
    for num_bytes, blocks in ((8 * 4 * 5, [5, 5, 2]), (8 * 4 * 2, [12])):  # too low to pay
        seen.clear()
        monkeypatch.setattr(tokens, "MULTIPLIED_BYTES", num_bytes)
        found = torch.autograd.grad(token_nll(*inputs, targets), inputs, upstream)
        assert seen == blocks
        torch.testing.assert_close(found, expected)
