"""`elbo_terms`: reconstruction and KL of a batch on one scale, nats per sentence.

Nothing is read back from the accelerator here, so it may stand in a training loop.

Shapes: B sentences, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from textvae.losses.checks import choose
from textvae.losses.free_bits import FREE_BITS
from textvae.losses.kl import kl_per_dimension

__all__ = ["ELBOTerms", "elbo_terms"]


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


def elbo_terms(
    rec: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    free_bits: float = 0.0,
    free_bits_kind: str = "batch",
) -> ELBOTerms:
    """Bring reconstruction and KL of a batch to one scale: nats per sentence.

    Args:
        rec: Reconstruction −log p(x|z) of each sentence, summed over its tokens, (B,), nats.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        free_bits: Floor (or target) of the KL in `kl_objective`, nats; 0 leaves the raw KL.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.

    Returns:
        The batch's `ELBOTerms`; at full weight and without free bits the loss is rec + kl.

    Raises:
        ValueError: If shapes disagree, `free_bits` is negative or its kind unknown.
    """
    if rec.shape != mu.shape[:1]:
        raise ValueError(
            f"rec must hold one value for each of the {mu.shape[0]} sentences of mu, got shape "
            f"{tuple(rec.shape)}"
        )
    floored = choose(FREE_BITS, "free_bits_kind", free_bits_kind)
    per_dim = kl_per_dimension(mu, logvar)
    kl = per_dim.sum(-1).mean()
    objective = floored(per_dim, free_bits) if free_bits else kl
    return ELBOTerms(rec.mean(), kl, objective)
