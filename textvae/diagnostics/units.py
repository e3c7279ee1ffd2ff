"""Which latent dimensions are in use: active units, and active dimensions.

They are not the same thing: a dimension whose posterior is the same for every sentence, but not
the prior, is active by its KL and no active unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ACTIVE_VARIANCE = 0.01  # threshold on Var_x(mu_d) for active units (Burda et al. 2016)
ACTIVE_KL = 0.01  # threshold on a dimension's mean KL, nats, for active dimensions
COLLAPSED_KL = 0.1  # KL, nats per sentence, that counts as none: a bit in seven sentences
AU_THRESHOLDS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # two to a decade


def active_units(means: Tensor, threshold: float = ACTIVE_VARIANCE) -> int:
    """Number of dimensions whose posterior mean varies over the data.

    Args:
        means: Posterior means of a data set, (M, Z).
        threshold: Least variance over sentences.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, section 5.2.
    """
    # Not `var`, which warns where there are no dimensions: a language model's.
    return int(((means - means.mean(0)).square().mean(0) >= threshold).sum())


def au_curve(means: Tensor, thresholds: Sequence[float] = AU_THRESHOLDS) -> dict[float, int]:
    """Active units by threshold: one number hides how near the others are."""
    return {threshold: active_units(means, threshold) for threshold in thresholds}


def active_dimensions(kl_per_dim: Tensor | Sequence[float], threshold: float = ACTIVE_KL) -> int:
    """Number of dimensions whose mean KL is at least a threshold.

    Args:
        kl_per_dim: Mean KL of each dimension, (Z,), nats.
        threshold: Least KL, nats.
    """
    return int((torch.as_tensor(kl_per_dim) >= threshold).sum())
