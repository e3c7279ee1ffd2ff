"""The posteriors of a whole split, and the moments of the distribution they make up together.

Offers `posteriors`, which encodes a split, and `moments` with its result `Moments`.

The aggregate posterior q(z) is the mean of q(z|x) over the sentences. Where it is not the prior,
codes drawn from the prior are codes that the decoder never saw.

Shapes: M sentences of a split, B of a batch, Z latent dimensions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.diagnostics.latent_model import LatentModel, evaluation_mode
from textvae.model import Gaussian, Posterior

__all__ = ["Moments", "moments", "posteriors"]


@torch.no_grad()
def posteriors(
    model: LatentModel,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    before_batch: Callable[[], None] | None = None,
) -> Posterior:
    """Encode a split.

    The model's mode is left as it was found.

    Args:
        model: The model.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.
        before_batch: Called before each batch: a progress bar's or an interruption's place.

    Returns:
        Means and log-variances, (M, Z) each, fp32 on the CPU, in the split's order.

    Raises:
        ValueError: If the batches do not hold as many sentences as the split.
    """
    mu = torch.zeros(num_sentences, model.latent_dim)
    logvar = torch.zeros_like(mu)
    seen = torch.zeros(num_sentences, dtype=torch.bool)
    with evaluation_mode(model):
        for batch in batches:
            if before_batch is not None:
                before_batch()
            rows = batch.indices.cpu()
            posterior = model.encode(batch.to(model.device))
            mu[rows], logvar[rows] = posterior.mu.to(mu), posterior.logvar.to(mu)
            seen[rows] = True
    if num_sentences == 0 or not seen.all():
        raise ValueError(
            f"batches must hold every sentence of the split, got {int(seen.sum())} of "
            f"{num_sentences}"
        )
    return Gaussian(mu, logvar)


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


def moments(mu: Tensor, logvar: Tensor) -> Moments:
    """Moments of the posteriors of a data set.

    Args:
        mu: Posterior means, (M, Z).
        logvar: Logarithms of the posterior variances, (M, Z).

    Returns:
        The `Moments`, over sentences, biased (divided by M): the data set is the population.

    Raises:
        ValueError: If there is no sentence or the shapes differ.
    """
    if mu.shape != logvar.shape or mu.ndim != 2 or not len(mu):
        raise ValueError(
            "mu and logvar must both be (M, Z) with M at least 1, got "
            f"{tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    mu, logvar = mu.double(), logvar.double()
    mean = mu.mean(0)
    mean_variance = (mu - mean).square().mean(0)
    posterior_variance = logvar.exp().mean(0)
    return Moments(
        mean=mean.tolist(),
        variance=(mean_variance + posterior_variance).tolist(),
        mean_variance=mean_variance.tolist(),
        posterior_variance=posterior_variance.tolist(),
    )
