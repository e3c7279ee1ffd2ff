"""How much the code says about its sentence: mutual information, and its price in KL.

KL(q(z|x) ‖ p(z)), mean over sentences, is I_q(x; z) + KL(q(z) ‖ p(z)): what z says, and how far
the codes of all sentences together are from the prior. Both come from one z per sentence and the
mixture of the N posteriors, q(z) = (1/N) Σ_j q(z|x_j).

Shapes: N sentences, Z latent dimensions, C rows of a chunk.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from textvae.checks import InputError, at_least, one_of
from textvae.diagnostics.latent_model import sentence_noise, take
from textvae.model import Posterior

CLASSIC_BATCH = 32
"""Sentences that the classic estimator looks at together, as the papers do."""

MAX_PAIRS = 2**21
"""Pairs of sentences whose log-density is held at a time: 16 MiB in fp64, a few times over."""


class MutualInformation(NamedTuple):
    """What z says about x, nats per sentence.

    Attributes:
        mi: Estimate of I_q(x; z).
        mi_se: Its standard error over sentences (batches, for the classic estimator).
        mi_max: log N (of a batch, for the classic estimator): the paired estimate is never above.
        aggregate_kl: Estimate of KL(q(z) ‖ p(z)) from the same draws. Never under KL − log N but
            for sampling error, so too high where KL is near log N or above.
    """

    mi: float
    mi_se: float
    mi_max: float
    aggregate_kl: float


def mutual_information(
    posterior: Posterior,
    *,
    estimator: Literal["paired", "classic"] = "paired",
    seed: int = 0,
    noise: Tensor | None = None,
    chunk: int | None = None,
) -> MutualInformation:
    """Estimate I_q(x; z) and KL(q(z) ‖ p(z)) over a data set, in bounded memory.

    The paired estimator has the same z in both of its terms,

        mean_i [log q(z_i|x_i) − log (1/N) Σ_j q(z_i|x_j)],

    so that it is 0 on a collapsed posterior, whatever the draw, and never above log N, which is
    what N sentences can show. The classic one takes the first term's expectation in closed form
    and the second inside batches of 32: the noise no longer cancels. It is here to compare with
    papers.

    Args:
        posterior: Posteriors of N sentences, Z dimensions.
        estimator: `"paired"` over all N sentences, or `"classic"` inside batches of 32.
        seed: Seed of the noise.
        noise: Standard normal draws, (N, Z), instead of the seed's.
        chunk: Sentences compared with all others at a time; by default as many as keep the
            matrix of log-densities at 2 Mi entries. The estimate does not depend on it.

    Returns:
        The estimate and what it is to be compared with.

    Raises:
        InputError: If an argument is out of range or the shapes do not fit.

    Reference:
        Hoffman & Johnson (2016), ELBO surgery, for the split of KL; He et al. (2019), Lagging
        Inference Networks, for the classic estimator.
    """
    one_of("estimator", estimator, ("paired", "classic"))
    size, width = _shape(posterior)
    if noise is None:
        noise = sentence_noise(size, width, seed)
    elif noise.shape != (size, width):
        raise InputError(f"noise must be {(size, width)}, got {tuple(noise.shape)}")
    at_least(1, chunk=chunk)
    exact = posterior.map(lambda parameter: parameter.double())
    z = exact.sample(noise.double())
    if estimator == "classic":
        return _classic(z, exact)
    own, mixture = _log_ratios(z, exact, chunk)
    gain = own - mixture
    return MutualInformation(
        float(gain.mean()), _standard_error(gain), math.log(size), float(mixture.mean())
    )


def mi_per_dimension(
    posterior: Posterior, *, seed: int = 0, max_sentences: int = 2000
) -> list[float]:
    """Paired estimate of I_q(x; z_d) for each dimension alone.

    They need not add up to the mutual information of all: dimensions may say the same thing.

    Args:
        posterior: Posteriors of N sentences, Z dimensions.
        seed: Seed of the noise.
        max_sentences: Sentences looked at, evenly spread over the data set, at least 1.

    Returns:
        Nats for each of Z dimensions.

    Raises:
        InputError: If `max_sentences` is below 1 or there is no sentence.
    """
    at_least(1, max_sentences=max_sentences)
    size, width = _shape(posterior)
    rows = spread_rows(size, max_sentences)
    some = take(posterior, rows).map(lambda parameter: parameter.double())
    z = some.sample(sentence_noise(size, width, seed)[rows].double())
    ratios = (_log_ratios(z[:, d : d + 1], some.dimension(d), None) for d in range(width))
    return [float((own - mixture).mean()) for own, mixture in ratios]


def spread_rows(size: int, most: int) -> Tensor:
    """At most `most` row numbers below `size`, evenly spread."""
    count = min(size, most)
    return torch.arange(count) * size // count


def _log_ratios(z: Tensor, posterior: Posterior, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Log q(z_i|x_i) and log (1/N) Σ_j q(z_i|x_j), each less log p(z_i), (N,)."""
    size = len(z)
    chunk = chunk or max(1, MAX_PAIRS // size)
    own, mixture = [], []
    for start in range(0, size, chunk):
        pairs = posterior.pairwise_log_ratio(z[start : start + chunk])  # (C, N)
        diagonal = pairs.diagonal(start)
        # Relative to its own term, each sum is at least 1: the estimate can't pass log N.
        excess = torch.logsumexp(pairs - diagonal[:, None], 1)
        own.append(diagonal)
        mixture.append(diagonal + (excess - math.log(size)))
    return torch.cat(own), torch.cat(mixture)


def _classic(z: Tensor, posterior: Posterior) -> MutualInformation:
    # E_q[log p(z)] less its draw, which log q(z) in the second term still holds.
    prior = 0.5 * (z.square() - posterior.mean.square() - posterior.variance).sum(1)
    first = posterior.kl().sum(1) + prior
    rows = torch.arange(len(z)).split(CLASSIC_BATCH)
    mixture = torch.cat([_log_ratios(z[r], take(posterior, r), None)[1] for r in rows])
    gain = first - mixture
    return MutualInformation(
        mi=float(gain.mean()),
        mi_se=_standard_error(torch.stack([gain[r].mean() for r in rows])),
        mi_max=math.log(min(CLASSIC_BATCH, len(z))),
        aggregate_kl=float(mixture.mean()),
    )


def _standard_error(values: Tensor) -> float:
    """Of the mean; 0 for a single value, which has no spread to judge by."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _shape(posterior: Posterior) -> tuple[int, int]:
    shape = tuple(posterior.mean.shape)
    if len(shape) != 2 or not shape[0]:
        raise InputError(f"posterior must be (N, Z) with N at least 1, got {shape}")
    return shape[0], shape[1]
