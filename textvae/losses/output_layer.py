"""`token_nll`: −log p of target tokens from a decoder's outputs, in bounded memory.

Shapes: N tokens, H hidden units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from textvae.runtime import product_dtype

MAX_SCORES = 2**27
"""Scores (tokens × vocabulary) held at a time by `token_nll`: 512 MiB in fp32."""

CACHED_SCORES = 2**19
"""Scores that go through the softmax together on a CPU: 2 MiB in fp32, which its cache holds."""

MULTIPLIED_BYTES = 2**25 - 2**13
"""Of scores that are one matrix product on a CPU: 32 MiB with what glibc adds, the largest block
whose memory it keeps for the next one."""


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
    rows = multiplied_rows(hidden, weight)
    is_training = torch.is_grad_enabled()
    if is_training and rows < 3 * hidden.shape[1]:
        rows = len(hidden)  # the weight's gradient, added up over many blocks, would cost more
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    if is_training:
        return torch.cat([_SoftmaxNLL.apply(h, weight, bias, t) for h, t in parts])  # type: ignore[no-untyped-call]
    return torch.cat([_evaluated_nll(h, weight, bias, t) for h, t in parts])


def _evaluated_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    own = _own_scores(hidden, weight, bias, targets)
    parts = _softmax(F.linear(hidden, weight), bias, targets, own)
    return torch.cat([log_sum for _, _, log_sum in parts]) - own


def multiplied_rows(hidden: Tensor, weight: Tensor) -> int:
    """How many rows of hidden units (N, H) to multiply with the output embedding (V, H) at once."""
    at_once = MULTIPLIED_BYTES // product_dtype(weight).itemsize
    return _rows(at_once, len(hidden), len(weight), hidden.device)


def cached_rows(scores: Tensor) -> int:
    """How many rows of (N, V) scores to take through a softmax together."""
    return _rows(CACHED_SCORES, len(scores), scores.shape[1], scores.device)


def _rows(at_once: int, num_rows: int, vocab_size: int, device: torch.device) -> int:
    return max(1, at_once // vocab_size if device.type == "cpu" else num_rows)


def _own_scores(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The targets' own scores, (N,), in fp32 at least whatever autocast does."""
    with torch.autocast(hidden.device.type, enabled=False):
        return (hidden.to(weight.dtype) * weight[targets]).sum(-1) + bias[targets]


def _softmax(
    products: Tensor, bias: Tensor, targets: Tensor, own: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Probabilities from the products (N, V) of hidden units and output embedding, in cache.

    Bias, softmax and logarithm are in fp32 at least. Products in less are rounded by some
    hundredths of a nat, which nearly cancels in their sum but not in the target's own score: that
    (N,) takes the place of the rounded one.

    Yields:
        A part (P, V) of the products, its probabilities and the logarithm of their softmax's sum,
        (P,).
    """
    rows = cached_rows(products)
    parts = (torch.split(of_all, rows) for of_all in (products, targets, own))
    for part, target, score in zip(*parts, strict=True):
        scores = (part + bias).scatter_(1, target[:, None], score[:, None])
        largest = scores.amax(-1)
        p = torch.softmax(scores, -1)
        # The logarithm of the softmax's sum, from the likeliest token, whose p is never tiny. The
        # two maxima cost a tenth of what exponentials of a log-softmax would.
        yield part, p, largest - p.amax(-1).log()


class _SoftmaxNLL(torch.autograd.Function):
    """Output layer, softmax and negative log-likelihood in one.

    Autograd's own chain walks some six times over N × V numbers, forth and back. Here the products
    become probabilities part by part, in cache, and those alone are kept for the backward pass, in
    autocast's type where it is on: less than half the time of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        dtype = product_dtype(weight)
        hidden, weight_t = hidden.to(dtype), weight.to(dtype).t()
        with torch.autocast(hidden.device.type, enabled=False):
            error = hidden @ weight_t
            own = _own_scores(hidden, weight, bias, targets)
            log_sums = []
            for part, p, log_sum in _softmax(error, bias, targets, own):
                part.copy_(p)
                log_sums.append(log_sum)
        # With p the softmax and y the target's one-hot row, d nll / d scores = p − y.
        error[torch.arange(len(targets), device=targets.device), targets] -= 1
        ctx.save_for_backward(hidden, weight_t, error)
        ctx.dtypes = (weight.dtype, bias.dtype)
        return torch.cat(log_sums) - own

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
