"""The two terms of the evidence lower bound and what may be done to them, over plain tensors.

Offers `kl_per_dimension` and `kl_divergence` (closed form against a standard normal),
`token_nll` (reconstruction, with bounded memory), `free_bits_per_dimension`, and
`elbo_terms`, which puts them on one scale: sums over tokens and dimensions, means over sentences.

Nothing here knows a model, a schedule or a vocabulary. The weight of the KL term is applied
outside, by an annealer, so that raw values can always be reported beside what was optimised.

Shapes: B sentences, N tokens, H hidden units, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = [
    "ELBOTerms",
    "elbo_terms",
    "free_bits_per_dimension",
    "kl_divergence",
    "kl_per_dimension",
    "token_nll",
]

MAX_SCORES = 2**25
"""Scores (tokens × vocabulary) held at a time by `token_nll`: 128 MiB in fp32."""


class ELBOTerms(NamedTuple):
    """One batch's terms of the negative ELBO, each a scalar in nats per sentence.

    Attributes:
        rec: Reconstruction, summed over tokens, mean over sentences.
        kl: Raw KL divergence, summed over dimensions, mean over sentences. Report this one.
        kl_objective: What is to be weighed and optimised: `kl`, or `kl` after free bits.
    """

    rec: Tensor
    kl: Tensor
    kl_objective: Tensor


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of every dimension, in closed form.

    Args:
        mu: Posterior means, any shape, usually (B, Z).
        logvar: Logarithms of the posterior variances, same shape.

    Returns:
        Nats, same shape, never negative.

    Raises:
        ValueError: If the shapes differ.

    Reference:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, appendix B.
    """
    if mu.shape != logvar.shape:
        raise ValueError(
            f"mu and logvar must have the same shape, got {tuple(mu.shape)} and "
            f"{tuple(logvar.shape)}"
        )
    # expm1 keeps the digits that exp(logvar) - 1 loses where the posterior meets the prior.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def kl_divergence(mu: Tensor, logvar: Tensor, reduction: str = "sum") -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) of a diagonal Gaussian posterior, in nats.

    Args:
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        reduction: `"sum"` over everything, `"mean"` (summed over dimensions, mean over
            sentences) or `"none"` (summed over dimensions only).

    Returns:
        A scalar, or (B,) for `"none"`.

    Raises:
        ValueError: If the shapes differ or the reduction is unknown.
    """
    per_sentence = kl_per_dimension(mu, logvar).sum(-1)
    if reduction == "none":
        return per_sentence
    if reduction == "mean":
        return per_sentence.mean()
    if reduction == "sum":
        return per_sentence.sum()
    raise ValueError(f"reduction must be one of 'sum', 'mean', 'none', got {reduction!r}")


def free_bits_per_dimension(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """Free bits as Kingma et al. define them: a floor under each dimension's batch-mean KL.

    A dimension whose mean over the batch is under the floor costs the floor and gets no gradient
    from this term, so it may use that many nats without being pushed back to the prior.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The floor λ, nats per dimension, ≥ 0.

    Returns:
        Scalar Σ_d max(λ, mean_b KL[b, d]), nats per sentence.

    Raises:
        ValueError: If `free_bits` is negative.

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        equation 15. Variants that clamp each sentence are different methods.
    """
    if not free_bits >= 0:
        raise ValueError(f"free_bits must be at least 0 nats per dimension, got {free_bits}")
    return kl_per_dim.mean(0).clamp_min(free_bits).sum()


def elbo_terms(rec: Tensor, mu: Tensor, logvar: Tensor, *, free_bits: float = 0.0) -> ELBOTerms:
    """Bring reconstruction and KL of a batch to one scale: nats per sentence.

    Args:
        rec: Reconstruction −log p(x|z) of each sentence, summed over its tokens, (B,), nats.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        free_bits: Floor under each dimension's mean KL in `kl_objective`, nats per dimension.

    Returns:
        The batch's `ELBOTerms`; at full weight and without free bits the loss is rec + kl.

    Raises:
        ValueError: If shapes disagree or `free_bits` is negative.
    """
    if rec.shape != mu.shape[:1]:
        raise ValueError(
            f"rec must hold one value for each of the {mu.shape[0]} sentences of mu, got shape "
            f"{tuple(rec.shape)}"
        )
    per_dim = kl_per_dimension(mu, logvar)
    kl = per_dim.sum(-1).mean()
    objective = free_bits_per_dimension(per_dim, free_bits) if free_bits else kl
    return ELBOTerms(rec.mean(), kl, objective)


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
    scores = F.linear(hidden, weight, bias)
    return F.cross_entropy(_at_least_fp32(scores), targets, reduction="none")


class _SoftmaxNLL(torch.autograd.Function):
    """Output layer, softmax and negative log-likelihood in one.

    Autograd's own chain walks some six times over N × V numbers, forth and back. Here the scores
    become probabilities while they are in cache, and those alone are kept for the backward pass,
    in autocast's type where it is on: less than half the time of a training step on a CPU.
    """

    ROWS = 256
    """Tokens whose scores stay in cache together."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        hidden, weight_t = hidden.to(dtype), weight.to(dtype).t()
        nll = hidden.new_empty(len(hidden), dtype=torch.promote_types(dtype, torch.float32))
        error = hidden.new_empty(len(hidden), len(weight))
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(hidden), _SoftmaxNLL.ROWS):
                rows = slice(start, start + _SoftmaxNLL.ROWS)
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
