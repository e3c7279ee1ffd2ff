"""Figures of means, variances, KL and gradients: dimensions in use, and where q(z) lies.

Active units and active dimensions are not the same thing: a dimension whose posterior is the same
for every sentence, but not the prior, is active by its KL and no active unit. Where the aggregate
posterior q(z), the mean of all posteriors, is not the prior, the decoder never saw the prior's z.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from textvae.checks import InputError
from textvae.model import Posterior

ACTIVE_VARIANCE = 0.01  # threshold on Var_x(mu_d) for active units (Burda et al. 2016)
ACTIVE_KL = 0.01  # threshold on a dimension's mean KL, nats, for active dimensions
COLLAPSED_KL = 0.1  # KL, nats per sentence, that counts as none: a bit in seven sentences
AU_THRESHOLDS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # two to a decade


def active_units(means: Tensor, threshold: float = ACTIVE_VARIANCE) -> int:
    """Dimensions of posterior means (M, Z) whose variance over the data is ≥ `threshold`.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, section 5.2.
    """
    # Not `var`, which warns where there are no dimensions: a language model's.
    return int(((means - means.mean(0)).square().mean(0) >= threshold).sum())


def au_curve(means: Tensor, thresholds: Sequence[float] = AU_THRESHOLDS) -> dict[float, int]:
    """Active units by threshold: one number hides how near the others are."""
    return {threshold: active_units(means, threshold) for threshold in thresholds}


def active_dimensions(kl_per_dim: Tensor | Sequence[float], threshold: float = ACTIVE_KL) -> int:
    """Dimensions whose mean KL (Z,), in nats, is ≥ `threshold`."""
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
        """Least KL(q(z) ‖ p(z)), nats, that these allow: that of the independent Gaussian.

        Unlike estimates from N samples it does not grow where KL is above log N.
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
    mean_variance, variance = (exact.mean - mean).square().mean(0), exact.variance.mean(0)
    parts = (mean, mean_variance + variance, mean_variance, variance)
    return Moments(*(part.tolist() for part in parts))


class GradientNorms(NamedTuple):
    """Norms of gradients: an encoder's that dies while the decoder's does not begins a collapse."""

    total: Tensor  # of all gradients taken as one vector: what clipping goes by
    encoder: Tensor  # of all that is not the decoder
    decoder: Tensor


def gradient_norms(model: nn.Module) -> GradientNorms:
    """Norms of a model's gradients, whole and by part; 0 for a part without gradients."""
    named = [(name, p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None]
    if not named:
        return GradientNorms(*torch.zeros(3))
    norms = torch.stack([norm for _, norm in named])
    is_decoder = norms.new_tensor([name.startswith("decoder.") for name, _ in named])
    parts = norms, norms * (1 - is_decoder), norms * is_decoder
    return GradientNorms(*(part.norm() for part in parts))


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of all gradients taken as one vector, a scalar on the model's device."""
    return gradient_norms(model).total
