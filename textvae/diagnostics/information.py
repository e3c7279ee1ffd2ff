"""How much the code says about its sentence: mutual information, and its price in KL.

KL(q(z|x) ‖ p(z)), mean over sentences, is I_q(x; z) + KL(q(z) ‖ p(z)), where q(z) is the mixture
of the N posteriors: what z says, and how far all codes together are from the prior.

Shapes: N sentences, Z latent dimensions, C rows of a chunk.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from textvae.checks import InputError, at_least, one_of
from textvae.model import Posterior

CLASSIC_BATCH = 32  # sentences that the classic estimator looks at together, as the papers do
MAX_PAIRS = 2**21  # whose log-density is held at a time: 16 MiB in fp64, a few times over


class MutualInformation(NamedTuple):
    """What z says about x, nats per sentence; of a batch for the classic estimator's `mi_max`."""

    mi: float  # estimate of I_q(x; z)
    mi_se: float  # standard error over sentences (batches, for the classic estimator)
    mi_max: float  # log N, which the paired estimate can't exceed
    aggregate_kl: float  # of KL(q(z) ‖ p(z)); too high where KL is near log N or above


def mutual_information(
    posterior: Posterior,
    *,
    estimator: Literal["paired", "classic"] = "paired",
    seed: int = 0,
    noise: Tensor | None = None,
) -> MutualInformation:
    """Estimate I_q(x; z) and KL(q(z) ‖ p(z)) over a data set, in bounded memory.

    The paired estimator, mean_i [log q(z_i|x_i) − log (1/N) Σ_j q(z_i|x_j)], has the same z in
    both terms: it is 0 on a collapsed posterior and never above log N. The classic one, for
    comparison with papers, takes the first term in closed form and the second in batches of 32.

    Args:
        posterior: Posteriors of N sentences, Z dimensions.
        estimator: `"paired"` or `"classic"`.
        seed: Seed of the noise.
        noise: Standard normal draws, (N, Z), instead of the seed's.

    Raises:
        InputError: If an argument is out of range or the shapes do not fit.

    Reference:
        Hoffman & Johnson (2016), ELBO surgery, for the split of KL; He et al. (2019), Lagging
        Inference Networks, for the classic estimator.
    """
    one_of("estimator", estimator, ("paired", "classic"))
    shape = _shape(posterior)
    noise = sentence_noise(*shape, seed) if noise is None else noise
    if noise.shape != shape:
        raise InputError(f"noise must be {shape}, got {tuple(noise.shape)}")
    exact = posterior.map(Tensor.double)
    z = exact.sample(noise.double())
    together = shape[0] if estimator == "paired" else CLASSIC_BATCH
    batches = torch.split(torch.arange(shape[0]), together)
    ratios = [_log_ratios(z[rows], exact.map(itemgetter(rows))) for rows in batches]
    own, mixture = (torch.cat(parts) for parts in zip(*ratios, strict=True))
    if estimator == "classic":
        # The closed form of E_q[log q(z|x)], less the log p(z) that the mixture has of its draw.
        moved = z.square() - exact.mean.square() - exact.variance
        own = (exact.kl() + 0.5 * moved).sum(1)
    gain = own - mixture
    alike = gain if estimator == "paired" else torch.stack([gain[rows].mean() for rows in batches])
    return MutualInformation(
        mi=float(gain.mean()),
        # A single value has no spread to judge by.
        mi_se=float(alike.std() / math.sqrt(len(alike))) if len(alike) > 1 else 0.0,
        mi_max=math.log(min(together, shape[0])),
        aggregate_kl=float(mixture.mean()),
    )


def mi_per_dimension(
    posterior: Posterior, *, seed: int = 0, max_sentences: int = 2000
) -> list[float]:
    """Paired estimate of I_q(x; z_d) for each dimension alone, nats.

    They need not add up to the mutual information of all: dimensions may say the same thing. At
    most `max_sentences`, at least 1, are looked at, evenly spread over the data set.
    """
    at_least(1, max_sentences=max_sentences)
    size, width = _shape(posterior)
    rows = spread_rows(size, max_sentences)
    some = posterior.map(itemgetter(rows)).map(Tensor.double)
    z = some.sample(sentence_noise(size, width, seed)[rows].double())
    ratios = (_log_ratios(z[:, d : d + 1], some.dimension(d)) for d in range(width))
    return [float((own - mixture).mean()) for own, mixture in ratios]


def sentence_noise(num_sentences: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal draws, a row for each sentence of a split, (M, Z) fp32."""
    return torch.randn(num_sentences, latent_dim, generator=torch.Generator().manual_seed(seed))


def spread_rows(size: int, most: int) -> Tensor:
    """At most `most` row numbers below `size`, evenly spread."""
    count = min(size, most)
    return torch.arange(count) * size // count


def _log_ratios(z: Tensor, posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Log q(z_i|x_i) and log (1/N) Σ_j q(z_i|x_j), each less log p(z_i), (N,)."""
    chunk = max(1, MAX_PAIRS // len(z))
    own, mixture = [], []
    for start in range(0, len(z), chunk):
        pairs = posterior.pairwise_log_ratio(z[start : start + chunk])  # (C, N)
        diagonal = pairs.diagonal(start)
        # Relative to its own term, each sum is at least 1: the estimate can't pass log N.
        excess = torch.logsumexp(pairs - diagonal[:, None], 1)
        own.append(diagonal)
        mixture.append(diagonal + (excess - math.log(len(z))))
    return torch.cat(own), torch.cat(mixture)


def _shape(posterior: Posterior) -> tuple[int, int]:
    shape = tuple(posterior.mean.shape)
    if len(shape) != 2 or not shape[0]:
        raise InputError(f"posterior must be (N, Z) with N at least 1, got {shape}")
    return shape[0], shape[1]
