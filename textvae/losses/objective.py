"""The objective of a batch: its terms on one scale, KL after free bits, weighed by an annealer.

Free bits share a name in the literature and differ in value and gradient; `FREE_BITS` names them
apart. Nothing here knows a model, or reads anything back from an accelerator.

Shapes: S samples, B sentences, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from textvae.checks import InputError, at_least, choose


class StepTerms(NamedTuple):
    """One batch's objective and its terms, each a scalar in nats per sentence.

    Attributes:
        loss: What to minimise: rec + weighed KL + weighed auxiliary terms.
        rec: Reconstruction, summed over tokens, mean over sentences.
        kl: Raw KL divergence, summed over dimensions, mean over sentences. Report this one.
        kl_objective: `kl` after free bits: what was given to the annealer.
        auxiliary: The other terms by name, before their weights.
    """

    loss: Tensor
    rec: Tensor
    kl: Tensor
    kl_objective: Tensor
    auxiliary: dict[str, Tensor]


def objective(
    terms: Mapping[str, Tensor],
    kl: Tensor,
    annealer: Callable[[Tensor], Tensor] = lambda kl: kl,
    *,
    weights: Mapping[str, float] = MappingProxyType({}),
    free_bits: float = 0.0,
    free_bits_kind: str = "batch",
) -> StepTerms:
    """The loss of a batch: mean over sentences of rec + β · KL + Σ weight · auxiliary term.

    Args:
        terms: Nats per sentence by name, (B,) or (S, B): `rec`, −log p(x|z) summed over tokens,
            and any others. `VAEOutput.terms` is such a table.
        kl: Raw KL of every sentence and dimension, (B, Z), nats: `posterior.kl()`.
        annealer: Weighs the KL; called once. By default the weight is 1.
        weights: Weights of the other terms; 1 where none is given.
        free_bits: Floor (or target) of the KL, nats; 0 leaves the raw KL.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.

    Raises:
        InputError: If a term has not one value per sentence, `free_bits` is negative or its kind
            unknown.
    """
    for name, values in terms.items():
        if values.shape[-1:] != kl.shape[:1]:
            raise InputError(
                f"{name} must hold one value for each of the {len(kl)} sentences of kl, got shape "
                f"{tuple(values.shape)}"
            )
    floored = choose(FREE_BITS, "free_bits_kind", free_bits_kind)
    raw = kl.sum(-1).mean()
    kl_objective = floored(kl, free_bits) if free_bits else raw
    rec = terms["rec"].mean()
    loss = rec + annealer(kl_objective)
    auxiliary = {name: values.mean() for name, values in terms.items() if name != "rec"}
    for name, value in auxiliary.items():
        loss = loss + weights.get(name, 1.0) * value
    return StepTerms(loss, rec, raw, kl_objective, auxiliary)


def free_bits_per_dimension(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """Σ_d max(λ, mean_b KL[b, d]): a floor under each dimension's mean over the batch.

    A dimension under the floor costs the floor and gets no gradient from this term.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The floor λ, nats per dimension, ≥ 0.

    Returns:
        A scalar, nats per sentence; so do all of `FREE_BITS`.

    Raises:
        InputError: If `free_bits` is negative, or the KL is not (B, Z); so do all of `FREE_BITS`.

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        equation 15, with a group for each dimension.
    """
    _check(kl_per_dim, free_bits)
    return kl_per_dim.mean(0).clamp_min(free_bits).sum()


def free_bits_max(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """mean_b Σ_d max(λ, KL[b, d]): a floor under every single KL, the clamp of textbooks.

    A dimension that few sentences use pays the floor for all the others. λ in nats per sentence
    and dimension.
    """
    _check(kl_per_dim, free_bits)
    return kl_per_dim.clamp_min(free_bits).sum(1).mean()


def free_bits_mask(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """mean_b Σ_d KL[b, d] · 1[KL[b, d] > λ]: a KL above the floor counts in full, others not.

    The gradient is that of `free_bits_max`; the value is never above the raw KL, and jumps by λ at
    the floor. λ in nats per sentence and dimension.

    Reference:
        Li et al. (2019), A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text:
        what its published code does, λ being the target KL divided by Z.
    """
    _check(kl_per_dim, free_bits)
    # Not `where(kl > λ, kl, 0)`, which would make a 0 of NaN.
    return kl_per_dim.masked_fill(kl_per_dim <= free_bits, 0.0).sum(1).mean()


def free_bits_total(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """max(λ, mean_b Σ_d KL[b, d]): one floor under the whole, which dimensions share freely.

    λ in nats per sentence; of no effect where Z is 0.

    Reference:
        Kingma et al. (2016), equation 15, with all dimensions in one group.
    """
    _check(kl_per_dim, free_bits)
    return kl_per_dim.sum(1).mean().clamp_min(free_bits if kl_per_dim.shape[1] else 0.0)


def target_kl(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """|mean_b Σ_d KL[b, d] − C|: too little costs as too much does.

    The target C in nats per sentence; of no effect where Z is 0.

    Reference:
        Burgess et al. (2018), Understanding disentangling in β-VAE, where C rises during training
        and the weight (their γ) is large.
    """
    _check(kl_per_dim, free_bits)
    return (kl_per_dim.sum(1).mean() - (free_bits if kl_per_dim.shape[1] else 0.0)).abs()


FREE_BITS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "batch": free_bits_per_dimension,
    "max": free_bits_max,
    "mask": free_bits_mask,
    "total": free_bits_total,
    "target": target_kl,
}
"""Every kind of free bits: name → function of KL per dimension (B, Z) and nats. At 0 nats all of
them give the raw KL."""


def _check(kl_per_dim: Tensor, free_bits: float) -> None:
    if kl_per_dim.ndim != 2:
        raise InputError(f"kl_per_dim must be (B, Z), got shape {tuple(kl_per_dim.shape)}")
    at_least(0, free_bits=free_bits)
