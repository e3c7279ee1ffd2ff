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
    """Moments of the posteriors of a split, and of the aggregate posterior, per dimension.

    Attributes:
        mean: Mean of q(z): the mean of the posterior means.
        variance: Variance of q(z): `mean_variance` + `posterior_variance`, by the law of total
            variance. 1 where q(z) is the prior.
        mean_variance: Variance over sentences of the posterior mean; what active units count.
        posterior_variance: Mean over sentences of the posterior's variance; 1 where the posterior
            is the prior, near 0 where it is all but a point.
    """

    mean: list[float]
    variance: list[float]
    mean_variance: list[float]
    posterior_variance: list[float]

    @property
    def average_posterior_variance(self) -> float:
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
    """Moments of the posteriors of a data set.

    Args:
        posterior: Posteriors of M sentences, Z dimensions.

    Returns:
        The `Moments`, over sentences, biased (divided by M): the data set is the population.

    Raises:
        InputError: If there is no sentence.
    """
    if not len(posterior):
        raise InputError("posterior must be of at least 1 sentence, got 0")
    exact = posterior.map(lambda parameter: parameter.double())
    mean = exact.mean.mean(0)
    mean_variance = (exact.mean - mean).square().mean(0)
    posterior_variance = exact.variance.mean(0)
    return Moments(
        mean=mean.tolist(),
        variance=(mean_variance + posterior_variance).tolist(),
        mean_variance=mean_variance.tolist(),
        posterior_variance=posterior_variance.tolist(),
    )
