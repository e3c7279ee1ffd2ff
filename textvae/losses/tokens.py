"""`token_nll`: −log p of target tokens from a decoder's outputs, in bounded memory.

Also offers `multiplied_rows` and `cached_rows`: of how many tokens to multiply, and then to look
at, the scores together.

Shapes: N tokens, H hidden units, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = ["MAX_SCORES", "cached_rows", "multiplied_rows", "token_nll"]

MAX_SCORES = 2**27
"""Scores (tokens × vocabulary) held at a time by `token_nll`: 512 MiB in fp32."""

CACHED_SCORES = 2**19
"""Scores that go through the softmax together on a CPU: 2 MiB in fp32, which its cache holds."""

MULTIPLIED_SCORES = 2**23 - 2**11
"""Scores that are one matrix product on a CPU where none are kept: less than 32 MiB in fp32, of
which the memory is used again (`cpu.full_speed`)."""


def token_nll(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    max_scores: int = MAX_SCORES,
) -> Tensor:
    """−log p of each target token under softmax(hidden · weightᵀ + bias).

    No more than `max_scores` scores exist at a time: larger inputs go through in chunks, whose
    scores are computed again in the backward pass instead of being kept.

    Args:
        hidden: Decoder outputs at real tokens only, (N, H).
        weight: Output embedding, (V, H).
        bias: Output bias, (V,).
        targets: Token ids, (N,).
        max_scores: Bound on scores held at a time; at least one token's V always are.

    Returns:
        Nats per token, (N,), fp32 also where autocast computes the scores in less.
    """
    rows = max(1, max_scores // weight.shape[0])
    if hidden.shape[0] <= rows:
        return _chunk_nll(hidden, weight, bias, targets)
    chunks = [
        checkpoint(_chunk_nll, h, weight, bias, t, use_reentrant=False, preserve_rng_state=False)
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(chunks)


def _chunk_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        nll: Tensor = _SoftmaxNLL.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
        return nll
    rows = multiplied_rows(hidden, weight)
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([_whole_nll(h, weight, bias, t) for h, t in parts])


def _whole_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    own = _target_products(hidden, weight, targets)
    return _softmax_nll(F.linear(hidden, weight), bias, targets, own)


def multiplied_rows(hidden: Tensor, weight: Tensor) -> int:
    """How many rows of hidden units (N, H) to multiply with the output embedding (V, H) at once."""
    return _rows(MULTIPLIED_SCORES, len(hidden), len(weight), hidden.device)


def cached_rows(scores: Tensor) -> int:
    """How many rows of (N, V) scores to take through a softmax together."""
    return _rows(CACHED_SCORES, len(scores), scores.shape[1], scores.device)


def _rows(at_once: int, num_rows: int, vocab_size: int, device: torch.device) -> int:
    return max(1, at_once // vocab_size if device.type == "cpu" else num_rows)


def _target_products(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The targets' own products, (N,), in fp32 at least whatever autocast does."""
    with torch.autocast(hidden.device.type, enabled=False):
        return (hidden.to(weight.dtype) * weight[targets]).sum(-1)


def _softmax_nll(
    products: Tensor,
    bias: Tensor,
    targets: Tensor,
    target_products: Tensor,
    *,
    keep_probabilities: bool = False,
) -> Tensor:
    """−log p, (N,), from the products (N, V) of hidden units and output embedding.

    Bias, softmax and logarithm are in fp32 at least. Products in less are rounded by some
    hundredths of a nat, which nearly cancels in their sum but not in the target's own score: that
    takes the place of the rounded one. `products` becomes probabilities if they are to be kept.
    """
    nll, rows = [], cached_rows(products)
    parts = (torch.split(of_all, rows) for of_all in (products, targets, target_products))
    for part, target, own in zip(*parts, strict=True):
        scores = part + bias
        scores.scatter_(1, target[:, None], (own + bias[target])[:, None])
        largest = scores.amax(-1)
        p = torch.softmax(scores, -1)
        # The logarithm of the softmax's sum, from the likeliest token, whose p is never tiny. The
        # two maxima cost a tenth of what exponentials of a log-softmax would.
        log_sum = largest - p.amax(-1).log()
        nll.append(log_sum - scores.gather(1, target[:, None])[:, 0])
        if keep_probabilities:
            part.copy_(p)
    return torch.cat(nll)


class _SoftmaxNLL(torch.autograd.Function):
    """Output layer, softmax and negative log-likelihood in one.

    Autograd's own chain walks some six times over N × V numbers, forth and back. Here the products
    become probabilities part by part, in cache, and those alone are kept for the backward pass, in
    autocast's type where it is on: less than half the time of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        hidden, weight_t = hidden.to(dtype), weight.to(dtype).t()
        with torch.autocast(kind, enabled=False):
            error = hidden @ weight_t
            own = _target_products(hidden, weight, targets)
            nll = _softmax_nll(error, bias, targets, own, keep_probabilities=True)
        # With p the softmax and y the target's one-hot row, d nll / d scores = p − y.
        error[torch.arange(len(targets), device=targets.device), targets] -= 1
        ctx.save_for_backward(hidden, weight_t, error)
        ctx.dtypes = (weight.dtype, bias.dtype)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden, weight_t, error = ctx.saved_tensors
        scale = gradient[:, None].to(error.dtype)
        d_hidden = (error @ weight_t.t()) * scale
        d_weight = error.t() @ (hidden * scale)
        d_bias = (scale.t() @ error)[0]
        weight_dtype, bias_dtype = ctx.dtypes
        return d_hidden, d_weight.to(weight_dtype), d_bias.to(bias_dtype), None
