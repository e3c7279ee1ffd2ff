"""How much the code says about its sentence: mutual information, and its price in KL.

Offers `mutual_information` with its result `MutualInformation`, and `mi_per_dimension`.

KL(q(z|x) ‖ p(z)), mean over sentences, is I_q(x; z) + KL(q(z) ‖ p(z)): what z says, and how far
the codes of all sentences together are from the prior. Both come from one z per sentence and the
mixture of the N posteriors, q(z) = (1/N) Σ_j q(z|x_j).

The paired estimator has the same z in both of its terms,

    mean_i [log q(z_i|x_i) − log (1/N) Σ_j q(z_i|x_j)],

so that it is 0 on a collapsed posterior, whatever the draw, and never above log N, which is what N
sentences can show. The classic one takes the first term's expectation in closed form and the second
inside batches of 32: the noise no longer cancels. It is here to compare with papers.

Shapes: N sentences, Z latent dimensions, C rows of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from textvae.losses import kl_per_dimension
from textvae.model import Gaussian, Posterior

__all__ = ["MutualInformation", "mi_per_dimension", "mutual_information"]

CLASSIC_BATCH = 32
"""Sentences that the classic estimator looks at together, as the papers do."""

MAX_PAIRS = 2**22
"""Pairs of sentences whose log-density is held at a time: 32 MiB in fp64, a few times over."""

LOG_2_PI = math.log(2 * math.pi)


class MutualInformation(NamedTuple):
    """What z says about x, nats per sentence.

    Attributes:
        mi: Estimate of I_q(x; z).
        mi_se: Its standard error over sentences (batches, for the classic estimator).
        mi_max: log N (of a batch, for the classic estimator): the paired estimate is never above.
        kl: KL(q(z|x) ‖ p(z)) in closed form.
        aggregate_kl: Estimate of KL(q(z) ‖ p(z)) from the same draws. Never under KL − log N but
            for sampling error, so too high where KL is near log N or above.
    """

    mi: float
    mi_se: float
    mi_max: float
    kl: float
    aggregate_kl: float


def mutual_information(
    mu: Tensor,
    logvar: Tensor,
    *,
    estimator: Literal["paired", "classic"] = "paired",
    seed: int = 0,
    noise: Tensor | None = None,
    chunk: int | None = None,
) -> MutualInformation:
    """Estimate I_q(x; z) and KL(q(z) ‖ p(z)) over a data set, in bounded memory.

    Args:
        mu: Posterior means, (N, Z).
        logvar: Logarithms of the posterior variances, (N, Z).
        estimator: `"paired"` over all N sentences, or `"classic"` inside batches of 32.
        seed: Seed of the noise.
        noise: Standard normal draws, (N, Z), instead of the seed's.
        chunk: Sentences compared with all others at a time; by default as many as keep the
            matrix of log-densities at 4 Mi entries. The estimate does not depend on it.

    Returns:
        The estimate and what it is to be compared with.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit.

    Reference:
        Hoffman & Johnson (2016), ELBO surgery, for the split of KL; He et al. (2019), Lagging
        Inference Networks, for the classic estimator.
    """
    if estimator not in ("paired", "classic"):
        raise ValueError(f"estimator must be 'paired' or 'classic', got {estimator!r}")
    _check(mu, logvar, noise, chunk)
    posterior = _centred(mu, logvar)
    z = posterior.sample(_noise(mu, seed) if noise is None else noise.double())
    kl = float(kl_per_dimension(mu.double(), logvar.double()).sum(1).mean())
    log_prior = -0.5 * ((z + mu.double().mean(0)).square() + LOG_2_PI).sum(1)
    if estimator == "classic":
        return _classic(z, posterior, log_prior, kl)
    own, mixture = _log_densities(z, posterior, chunk)
    gain = own - mixture
    return MutualInformation(
        mi=float(gain.mean()),
        mi_se=_standard_error(gain),
        mi_max=math.log(len(z)),
        kl=kl,
        aggregate_kl=float((mixture - log_prior).mean()),
    )


def mi_per_dimension(
    mu: Tensor, logvar: Tensor, *, seed: int = 0, max_sentences: int = 2000
) -> list[float]:
    """Paired estimate of I_q(x; z_d) for each dimension alone.

    They need not add up to the mutual information of all: dimensions may say the same thing.

    Args:
        mu: Posterior means, (N, Z).
        logvar: Logarithms of the posterior variances, (N, Z).
        seed: Seed of the noise.
        max_sentences: Sentences looked at, evenly spread over the data set.

    Returns:
        Nats for each of Z dimensions.

    Raises:
        ValueError: If an argument is out of range or the shapes do not fit.
    """
    _check(mu, logvar, None, None)
    if max_sentences < 1:
        raise ValueError(f"max_sentences must be at least 1, got {max_sentences}")
    size = min(len(mu), max_sentences)
    rows = torch.arange(size) * len(mu) // size
    posterior = _centred(mu[rows], logvar[rows])
    z = posterior.sample(_noise(mu, seed)[rows])
    gains = []
    for d in range(z.shape[1]):
        alone = Gaussian(posterior.mu[:, d : d + 1], posterior.logvar[:, d : d + 1])
        own, mixture = _log_densities(z[:, d : d + 1], alone, None)
        gains.append(float((own - mixture).mean()))
    return gains


def _centred(mu: Tensor, logvar: Tensor) -> Posterior:
    """The posteriors in fp64, moved so that the squares in `_log_densities` stay small."""
    mu = mu.double()
    return Gaussian(mu - mu.mean(0), logvar.double())


def _noise(mu: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Drawn in fp32, so that every estimate of a seed sees the same draws.
    return torch.randn(mu.shape, generator=generator).double()


def _log_densities(z: Tensor, posterior: Posterior, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Log q(z_i|x_i) and log (1/N) Σ_j q(z_i|x_j), (N,) each."""
    size = len(z)
    if chunk is None:
        chunk = max(1, MAX_PAIRS // size)
    own, mixture = [], []
    for start, pairs in _pairwise(z, posterior, chunk):  # (C, N)
        diagonal = pairs.diagonal(start)
        # Relative to its own term, each sum is at least 1: the estimate can't pass log N.
        excess = torch.logsumexp(pairs - diagonal[:, None], 1)
        own.append(diagonal)
        mixture.append(diagonal + (excess - math.log(size)))
    return torch.cat(own), torch.cat(mixture)


def _pairwise(z: Tensor, posterior: Posterior, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """Log q(z_i|x_j) for `chunk` sentences i at a time and all j, as one matrix product.

    −½ Σ_d [(z_d − mu_d)² / var_d + logvar_d + log 2π] is linear in z and z².
    """
    mu, logvar = posterior
    precision = torch.exp(-logvar)
    weights = torch.cat([precision * mu, -0.5 * precision], 1).T  # (2 Z, N)
    constant = -0.5 * (mu.square() * precision + logvar + LOG_2_PI).sum(1)  # (N,)
    features = torch.cat([z, z.square()], 1)  # (N, 2 Z)
    for start in range(0, len(z), chunk):
        yield start, torch.addmm(constant, features[start : start + chunk], weights)


def _classic(z: Tensor, posterior: Posterior, log_prior: Tensor, kl: float) -> MutualInformation:
    estimates, sizes, aggregate = [], [], []
    for start in range(0, len(z), CLASSIC_BATCH):
        rows = slice(start, start + CLASSIC_BATCH)
        batch = Gaussian(posterior.mu[rows], posterior.logvar[rows])
        _, mixture = _log_densities(z[rows], batch, None)
        # E_q[log q(z|x)] of a diagonal Gaussian.
        negative_entropy = -0.5 * (1 + LOG_2_PI + batch.logvar).sum(1)
        estimates.append(negative_entropy.mean() - mixture.mean())
        sizes.append(len(mixture) / len(z))
        aggregate.append(mixture - log_prior[rows])
    per_batch = torch.stack(estimates)
    return MutualInformation(
        mi=float(per_batch @ per_batch.new_tensor(sizes)),
        mi_se=_standard_error(per_batch),
        mi_max=math.log(min(CLASSIC_BATCH, len(z))),
        kl=kl,
        aggregate_kl=float(torch.cat(aggregate).mean()),
    )


def _standard_error(values: Tensor) -> float:
    """Of the mean; 0 for a single value, which has no spread to judge by."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _check(mu: Tensor, logvar: Tensor, noise: Tensor | None, chunk: int | None) -> None:
    if mu.ndim != 2 or not len(mu):
        raise ValueError(f"mu must be (N, Z) with N at least 1, got {tuple(mu.shape)}")
    for name, tensor in (("logvar", logvar), ("noise", noise)):
        if tensor is not None and tensor.shape != mu.shape:
            raise ValueError(f"{name} must be {tuple(mu.shape)}, got {tuple(tensor.shape)}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
