"""`token_nll`: −log p of target tokens from a decoder's outputs, in bounded memory.

Shapes: N tokens, P of them in a CPU's cache together, H hidden units, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from textvae.runtime import product_dtype

MAX_SCORES = 2**27
"""Scores (tokens × vocabulary) held at a time by `token_nll`: 512 MiB in fp32."""

KEPT_SCORES = 2**23 - 2**11
"""Scores that are one matrix product on a CPU: 32 MiB in fp32, the largest block whose memory glibc
keeps for the next one."""

CACHED_SCORES = 2**19
"""Scores that go through the softmax together on a CPU: 2 MiB in fp32, which its cache holds."""


def token_nll(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, max_scores: int = MAX_SCORES
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
    rows = max(1, max_scores // len(weight))
    if len(hidden) <= rows:
        return _chunk_nll(hidden, weight, bias, targets)
    chunks = [
        checkpoint(_chunk_nll, h, weight, bias, t, use_reentrant=False, preserve_rng_state=False)
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(chunks)


def cached_rows(scores: Tensor) -> int:
    """How many rows of (N, V) scores to take through a softmax together."""
    at_once = CACHED_SCORES // scores.shape[1] if scores.device.type == "cpu" else len(scores)
    return max(1, at_once)


def _chunk_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    rows = max(1, KEPT_SCORES // len(weight))
    # The weight's gradient, added up over many small blocks, would cost more than they save.
    is_costly = torch.is_grad_enabled() and rows < 3 * hidden.shape[1]
    if is_costly or hidden.device.type != "cpu":
        rows = len(hidden)
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([_SoftmaxNLL.apply(h, weight, bias, t) for h, t in parts])  # type: ignore[no-untyped-call]


class _SoftmaxNLL(torch.autograd.Function):
    """Output layer, softmax and negative log-likelihood in one.

    Autograd's own chain walks some six times over N × V numbers, forth and back. Here the products
    become probabilities part by part, in cache, and those alone are kept for the backward pass, in
    autocast's type where it is on: less than half the time of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        dtype, log_sums = product_dtype(weight), []
        hidden, weight_t = hidden.to(dtype), weight.to(dtype).t()
        with torch.autocast(hidden.device.type, enabled=False):
            error = hidden @ weight_t  # (N, V)
            # Products in less than fp32 are rounded by some hundredths of a nat, which nearly
            # cancels in their sum but not in the target's own score: this takes its place.
            own = (hidden.to(weight.dtype) * weight[targets]).sum(-1) + bias[targets]
            rows = cached_rows(error)
            parts = (torch.split(tensor, rows) for tensor in (error, targets, own))
            for part, target, score in zip(*parts, strict=True):
                scores = (part + bias).scatter_(1, target[:, None], score[:, None])  # (P, V)
                p = torch.softmax(scores, -1)
                # From the likeliest token, whose p is never tiny. The two maxima cost a tenth of
                # what exponentials of a log-softmax would.
                log_sums.append(scores.amax(-1) - p.amax(-1).log())
                part.copy_(p)
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
