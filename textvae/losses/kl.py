"""KL divergence of a diagonal Gaussian posterior from the standard normal prior, in closed form.

Offers `kl_per_dimension` and `kl_divergence`. Neither looks for NaN: both stand in training loops.

Shapes: B sentences, Z latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from textvae.losses.reduction import reduce_batch

__all__ = ["kl_divergence", "kl_per_dimension"]


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
    return reduce_batch(kl_per_dimension(mu, logvar).sum(-1), reduction)
