"""Free bits and their kin: what becomes of the KL before it is weighed.

Offers `FREE_BITS`, a table of methods that share a name in the literature and differ in value or
gradient. Each takes the raw KL per dimension (B, Z) and a number of nats, and gives one scalar in
nats per sentence, which an annealer may weigh like any KL; 0 nats leave the raw KL.

| kind | function | value | nats are |
|---|---|---|---|
| `batch` | `free_bits_per_dimension` | Σ_d max(λ, mean_b KL[b, d]) | per dimension |
| `max` | `free_bits_max` | mean_b Σ_d max(λ, KL[b, d]) | per dimension |
| `mask` | `free_bits_mask` | mean_b Σ_d KL[b, d] where KL[b, d] > λ, else 0 | per dimension |
| `total` | `free_bits_total` | max(λ, mean_b Σ_d KL[b, d]) | per sentence |
| `target` | `target_kl` | abs(mean_b Σ_d KL[b, d] − C) | per sentence |

Shapes: B sentences, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from textvae.losses.checks import refuse_negative

__all__ = [
    "FREE_BITS",
    "free_bits_mask",
    "free_bits_max",
    "free_bits_per_dimension",
    "free_bits_total",
    "target_kl",
]


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
        ValueError: If `free_bits` is negative, or the KL is not (B, Z).

    Reference:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow,
        equation 15, with a group for each dimension.
    """
    _check(kl_per_dim, free_bits, "nats per dimension")
    return kl_per_dim.mean(0).clamp_min(free_bits).sum()


def free_bits_max(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """A floor under every single KL, of each sentence and dimension: the clamp of textbooks.

    Stricter than the batch's mean: a dimension that is used by few sentences pays the floor for
    all the others.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The floor λ, nats per sentence and dimension, ≥ 0.

    Returns:
        Scalar mean_b Σ_d max(λ, KL[b, d]), nats per sentence.

    Raises:
        ValueError: If `free_bits` is negative, or the KL is not (B, Z).
    """
    _check(kl_per_dim, free_bits, "nats per dimension")
    return kl_per_dim.clamp_min(free_bits).sum(1).mean()


def free_bits_mask(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """Only the KL above the floor counts, and then all of it, for each sentence and dimension.

    The gradient is that of `free_bits_max`; the value is not: it is never above the raw KL, and
    it jumps by λ where a KL crosses the floor.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The threshold λ, nats per sentence and dimension, ≥ 0.

    Returns:
        Scalar mean_b Σ_d KL[b, d] · 1[KL[b, d] > λ], nats per sentence.

    Raises:
        ValueError: If `free_bits` is negative, or the KL is not (B, Z).

    Reference:
        Li et al. (2019), A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text:
        what its published code does, λ being the target KL divided by Z.
    """
    _check(kl_per_dim, free_bits, "nats per dimension")
    # Not `where(kl > λ, kl, 0)`, which would make a 0 of NaN.
    return kl_per_dim.masked_fill(kl_per_dim <= free_bits, 0.0).sum(1).mean()


def free_bits_total(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """A hinge on the whole: one floor under the batch's KL, which dimensions may share freely.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The floor λ, nats per sentence, ≥ 0. Of no effect where Z is 0.

    Returns:
        Scalar max(λ, mean_b Σ_d KL[b, d]), nats per sentence.

    Raises:
        ValueError: If `free_bits` is negative, or the KL is not (B, Z).

    Reference:
        Kingma et al. (2016), equation 15, with all dimensions in one group.
    """
    _check(kl_per_dim, free_bits, "nats per sentence")
    return _whole(kl_per_dim).clamp_min(free_bits if kl_per_dim.shape[1] else 0.0)


def target_kl(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """The distance of the batch's KL from a target: too little costs as too much does.

    Args:
        kl_per_dim: Raw KL, (B, Z), nats.
        free_bits: The target C, nats per sentence, ≥ 0. Of no effect where Z is 0.

    Returns:
        Scalar |mean_b Σ_d KL[b, d] − C|, nats per sentence.

    Raises:
        ValueError: If `free_bits` is negative, or the KL is not (B, Z).

    Reference:
        Burgess et al. (2018), Understanding disentangling in β-VAE, where C rises
        during training and the weight (their γ) is large.
    """
    _check(kl_per_dim, free_bits, "nats per sentence")
    return (_whole(kl_per_dim) - (free_bits if kl_per_dim.shape[1] else 0.0)).abs()


FREE_BITS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "batch": free_bits_per_dimension,
    "max": free_bits_max,
    "mask": free_bits_mask,
    "total": free_bits_total,
    "target": target_kl,
}
"""Every kind of free bits: name → function of KL per dimension (B, Z) and nats."""


def _check(kl_per_dim: Tensor, free_bits: float, unit: str) -> None:
    if kl_per_dim.ndim != 2:
        raise ValueError(f"kl_per_dim must be (B, Z), got shape {tuple(kl_per_dim.shape)}")
    refuse_negative("free_bits", free_bits, f" {unit}")


def _whole(kl_per_dim: Tensor) -> Tensor:
    return kl_per_dim.sum(1).mean()
