"""`token_nll` against PyTorch's cross-entropy, and what it holds at a time."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.draws import draws, draws64
from textvae.losses import output_layer as layer
from textvae.losses import token_nll


def numbers(
    tokens: int, hidden: int, vocabulary: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    """Hidden units, weight, bias, and targets."""
    shapes = (tokens, hidden), (vocabulary, hidden), (vocabulary,)
    made = [draws(*shape, seed=seed + i, dtype=dtype) for i, shape in enumerate(shapes)]
    generator = torch.Generator().manual_seed(seed + 4)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    return *(tensor.requires_grad_() for tensor in made), targets


def expected_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T + bias, targets, reduction="none")


@settings(max_examples=40)
@given(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(2, 9),
    st.sampled_from([1, 8, 30, 2**25]),
    st.integers(0, 1000),
)
def test_it_is_cross_entropy_with_its_gradients(tokens, hidden, vocabulary, max_scores, seed):
    *inputs, targets = numbers(tokens, hidden, vocabulary, seed)
    upstream = draws64(tokens, seed=seed + 5)  # any gradient, of either sign, and of none
    upstream[0] = 0
    nll = token_nll(*inputs, targets, max_scores=max_scores)
    gradients = torch.autograd.grad(nll, inputs, upstream, retain_graph=True)
    expected = expected_nll(*inputs, targets)
    torch.testing.assert_close(nll, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, upstream))
    again = torch.autograd.grad(nll, inputs, upstream)
    torch.testing.assert_close(again, gradients, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(token_nll(*inputs, targets, max_scores=max_scores), expected)


@pytest.mark.parametrize(
    ("training", "max_scores", "kept", "blocks"),
    [
        (True, 13, 2**23, [3, 3, 3, 2]),  # the bound, then what memory is kept for
        (False, 13, 2**23, [3, 3, 3, 2]),
        (False, 3, 2**23, [1] * 11),  # less than one token's scores
        (True, 2**23, 20, [5, 5, 1]),
        (True, 2**23, 12, [3, 3, 3, 2]),
        (True, 2**23, 11, [11]),  # fewer than three rows for each hidden unit: too few to pay
        (False, 2**23, 11, [2, 2, 2, 2, 2, 1]),
    ],
)
def test_no_more_scores_exist_than_allowed(monkeypatch, training, max_scores, kept, blocks):
    *inputs, targets = numbers(11, 1, 4)
    seen = list[int]()
    monkeypatch.setattr(layer, "KEPT_SCORES", kept)
    monkeypatch.setattr(layer, "cached_rows", lambda scores: seen.append(len(scores)) or 2)
    with torch.set_grad_enabled(training):
        nll = token_nll(*inputs, targets, max_scores=max_scores)
    assert seen == blocks
    expected = expected_nll(*inputs, targets)
    torch.testing.assert_close(nll.detach(), expected.detach())
    if training:
        found = torch.autograd.grad(nll.sum(), inputs)
        torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), inputs))
        # What is above the bound is computed again, not kept.
        assert len(seen) == len(blocks) * (2 if max_scores == 13 else 1)


def test_only_the_tensors_that_ask_get_a_gradient():
    hidden, weight, bias, targets = numbers(6, 3, 4)
    token_nll(hidden.detach(), weight, bias.detach(), targets).sum().backward()
    assert weight.grad is not None
    assert (hidden.grad, bias.grad) == (None, None)


def test_large_scores_stay_finite():
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    nll = token_nll(hidden, weight, bias, torch.tensor([0, 0]))
    nll.sum().backward()
    assert nll.tolist() == [0, 2e4]
    assert hidden.grad.isfinite().all()


def test_autocast_gives_no_token_more_than_all_of_the_probability():
    hidden, weight, bias, _ = (tensor.detach() for tensor in numbers(40, 16, 30))
    hidden, weight, bias = hidden.float(), 5 * weight.float(), bias.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll = token_nll(hidden, weight, bias, (hidden @ weight.T + bias).argmax(-1))
    assert nll.min() > -1e-5, "a target's own score must not be rounded"


@pytest.mark.parametrize("max_scores", [2**25, 200])
def test_autocast_comes_close_and_stays_fp32(max_scores):
    *inputs, targets = numbers(40, 16, 30, dtype=torch.float32)
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
    for found in (nll, without_graph):
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)
    for gradient, exact in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - exact).norm() < 0.02 * exact.norm()
    assert nll.ne(expected).any(), "autocast was not in effect"
