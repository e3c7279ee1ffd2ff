"""`token_nll`: −log p of target tokens from a decoder's outputs, in bounded memory.

Shapes: N tokens, H hidden units, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = ["MAX_SCORES", "token_nll"]

MAX_SCORES = 2**25
"""Scores (tokens × vocabulary) held at a time by `token_nll`: 128 MiB in fp32."""

CACHED_ROWS = 256
"""Tokens whose scores stay in a CPU's cache together."""


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
    rows = CACHED_ROWS if hidden.device.type == "cpu" else max(1, len(hidden))
    chunks = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([_scored_nll(F.linear(h, weight, bias), t) for h, t in chunks])


def _scored_nll(scores: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(_at_least_fp32(scores), targets, reduction="none")


class _SoftmaxNLL(torch.autograd.Function):
    """Output layer, softmax and negative log-likelihood in one.

    Autograd's own chain walks some six times over N × V numbers, forth and back. Here the scores
    become probabilities while they are in cache, and those alone are kept for the backward pass,
    in autocast's type where it is on: less than half the time of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        hidden, weight_t = hidden.to(dtype), weight.to(dtype).t()
        nll = hidden.new_empty(len(hidden), dtype=torch.promote_types(dtype, torch.float32))
        error = hidden.new_empty(len(hidden), len(weight))
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(hidden), CACHED_ROWS):
                rows = slice(start, start + CACHED_ROWS)
                scores = torch.addmm(bias.to(dtype), hidden[rows], weight_t)
                log_p = torch.log_softmax(_at_least_fp32(scores), -1)
                nll[rows] = -log_p.gather(1, targets[rows, None])[:, 0]
                error[rows] = log_p.exp_()
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


def _at_least_fp32(scores: Tensor) -> Tensor:
    return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores
