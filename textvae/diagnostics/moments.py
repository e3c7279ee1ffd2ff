"""Moments of the posteriors of a split, and of the aggregate posterior q(z), their mean.

Where q(z) is not the prior, codes drawn from the prior are codes that the decoder never saw.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from typing import Any

from textvae.checks import InputError
from textvae.model import Posterior


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

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def moments(posterior: Posterior) -> Moments:
    """Moments of the posteriors of a data set (M, Z), biased: the data set is the population."""
    if not len(posterior):
        raise InputError("posterior must be of at least 1 sentence, got 0")
    exact = posterior.map(lambda parameter: parameter.double())
    mean = exact.mean.mean(0)
    mean_variance = (exact.mean - mean).square().mean(0)
    variance = exact.variance.mean(0)
    parts = (mean, mean_variance + variance, mean_variance, variance)
    return Moments(*(part.tolist() for part in parts))
