"""What means, variances and KL tell of latent dimensions: which are in use, and where q(z) lies.

Active units and active dimensions are not the same thing: a dimension whose posterior is the same
for every sentence, but not the prior, is active by its KL and no active unit.

Where the aggregate posterior q(z), the mean of all posteriors, is not the prior, codes drawn from
the prior are codes that the decoder never saw.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.checks import InputError
from textvae.model import Posterior

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


@dataclass(frozen=True)
class Moments:
    """Moments of the posteriors of a split, and of the aggregate posterior, per dimension."""

    mean: list[float]  # of q(z)
    variance: list[float]  # of q(z), the sum of the two below; 1 where q(z) is the prior
    mean_variance: list[float]  # over sentences, of the posterior mean; what active units count
    posterior_variance: list[float]  # mean over sentences; near 0 where posteriors are points

    @property
    def average_variance(self) -> float:
        """Mean over dimensions of `posterior_variance`; 1 for a language model, which has none."""
        width = len(self.posterior_variance)
        return sum(self.posterior_variance) / width if width else 1.0

    @property
    def least_aggregate_kl(self) -> float:
        """Least KL(q(z) ‖ p(z)) that these means and variances allow, nats.

        Of all distributions with the same means and variances the independent Gaussian is nearest
        to the prior. Unlike estimates from N samples this does not grow where each of them is
        only seen with its own sentence, as it is when KL is above log N.
        """
        return sum(
            0.5 * (m * m + v - 1 - math.log(max(v, sys.float_info.min)))
            for m, v in zip(self.mean, self.variance, strict=True)
        )


def moments(posterior: Posterior) -> Moments:
    """Moments of the posteriors of a data set (M, Z), biased: the data set is the population."""
    if not len(posterior):
        raise InputError("posterior must be of at least 1 sentence, got 0")
    exact = posterior.map(Tensor.double)
    mean = exact.mean.mean(0)
    mean_variance = (exact.mean - mean).square().mean(0)
    variance = exact.variance.mean(0)
    parts = (mean, mean_variance + variance, mean_variance, variance)
    return Moments(*(part.tolist() for part in parts))
