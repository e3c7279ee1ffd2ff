"""What z says of its sentence, which dimensions are in use, where q(z) lies.

KL(q(z|x) ‖ p(z)), mean over sentences, is I_q(x; z) + KL(q(z) ‖ p(z)), where q(z) is the mixture
of all posteriors: what z says, and how far all codes together are from the prior. A dimension whose
posterior is the same for every sentence, but not the prior, is active by its KL and no active unit.

Shapes: N or M sentences, Z latent dimensions, C rows of a chunk.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from textvae.checks import InputError, at_least, integer, one_of
from textvae.model import Posterior

ACTIVE_VARIANCE = 0.01  # threshold on Var_x(mu_d) for active units (Burda et al. 2016)
ACTIVE_KL = 0.01  # threshold on a dimension's mean KL, nats, for active dimensions
COLLAPSED_KL = 0.1  # KL, nats per sentence, that counts as none: a bit in seven sentences
AU_THRESHOLDS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # two to a decade
CLASSIC_BATCH = 32  # sentences that the classic estimator looks at together, as the papers do
MAX_PAIRS = 2**21  # whose log-density is held at a time: 16 MiB in fp64, a few times over


def active_units(means: Tensor, threshold: float = ACTIVE_VARIANCE) -> int:
    """Dimensions of means (N, Z) with a variance ≥ `threshold` (Burda et al. 2016, section 5.2)."""
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
        return fmean(self.posterior_variance or [1.0])

    @property
    def least_aggregate_kl(self) -> float:
        """Least KL(q(z) ‖ p(z)), nats, that these allow, whatever N: the independent Gaussian's."""
        both = zip(self.mean, self.variance, strict=True)
        return sum(0.5 * (m * m + v - 1 - math.log(max(v, sys.float_info.min))) for m, v in both)


def moments(posterior: Posterior) -> Moments:
    """Moments of the posteriors of a data set (N, Z), biased: the data set is the population."""
    exact = posterior.map(Tensor.double)
    mean = exact.mean.mean(0)
    mean_variance, variance = (exact.mean - mean).square().mean(0), exact.variance.mean(0)
    parts = (mean, mean_variance + variance, mean_variance, variance)
    return Moments(*(part.tolist() for part in parts))


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
    max_sentences: int | None = None,
) -> MutualInformation:
    """Estimate I_q(x; z) and KL(q(z) ‖ p(z)) over a data set, in bounded memory.

    The paired estimator, mean_i [log q(z_i|x_i) − log (1/N) Σ_j q(z_i|x_j)], has the same z in
    both terms: it is 0 on a collapsed posterior and never above log N. The classic one, for
    comparison with papers, takes the first term in closed form and the second in batches of 32.
    At most `max_sentences`, at least 1, are looked at, evenly spread over the data set.

    Reference:
        Hoffman & Johnson (2016), ELBO surgery, for the split of KL; He et al. (2019), Lagging
        Inference Networks, for the classic estimator.
    """
    one_of("estimator", estimator, ("paired", "classic"))
    exact, z = _drawn(posterior, seed, max_sentences)
    together = len(z) if estimator == "paired" else CLASSIC_BATCH
    batches = torch.split(torch.arange(len(z)), together)
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
        mi_max=math.log(min(together, len(z))),
        aggregate_kl=float(mixture.mean()),
    )


def mi_per_dimension(
    posterior: Posterior, *, seed: int = 0, max_sentences: int = 2000
) -> list[float]:
    """Paired estimate of I_q(x; z_d) for each dimension alone, nats: they may say the same thing.

    For the arguments see `mutual_information`.
    """
    exact, z = _drawn(posterior, seed, max_sentences)
    dimensions = range(z.shape[1])
    ratios = (_log_ratios(z[:, d : d + 1], exact.dimension(d)) for d in dimensions)
    return [float((own - mixture).mean()) for own, mixture in ratios]


def _drawn(posterior: Posterior, seed: int, most: int | None) -> tuple[Posterior, Tensor]:
    """The posteriors of at most so many sentences, and a draw from each, (N, Z), in fp64."""
    at_least(1, max_sentences=most)
    shape = tuple(posterior.mean.shape)
    if len(shape) != 2 or not shape[0]:
        raise InputError(f"posterior must be (N, Z) with N at least 1, got {shape}")
    num_sentences = shape[0] if most is None else min(most, shape[0])
    rows = torch.arange(num_sentences) * shape[0] // num_sentences
    exact = posterior.map(itemgetter(rows)).map(Tensor.double)
    return exact, exact.sample(sentence_noise(*shape, seed)[rows].double())


def sentence_noise(num_sentences: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal draws, a row for each sentence of a split, (M, Z) fp32."""
    draws = torch.Generator().manual_seed(integer("seed", seed, 0))
    return torch.randn(num_sentences, latent_dim, generator=draws)


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
