"""The true ELBO and its parts on a split: β = 1, z drawn from the posterior, fp32, no dropout.

Shapes: M sentences of a split, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from torch import Tensor

from textvae.batches import Batch
from textvae.checks import at_least
from textvae.diagnostics.information import mutual_information, spread_rows
from textvae.diagnostics.latent_model import LatentModel, measure_split, sentence_noise
from textvae.diagnostics.units import active_dimensions, active_units
from textvae.model import Posterior
from textvae.runtime import ALONE, Processes

MAX_EXPONENT = 700.0  # above it, e to its power is no float any more
MI_SENTENCES = 2000  # whose mutual information is estimated: all pairs of them are compared


@dataclass(frozen=True)
class Evaluation:
    """A model's terms on a split, means over sentences, nats per sentence."""

    rec: float  # −E_q[log p(x|z)], summed over predicted tokens (EOS counted, BOS not)
    kl: float  # raw KL(q(z|x) ‖ p(z)), summed over dimensions
    elbo: float  # −(rec + kl)
    elbo_ppl: float  # exp(−ELBO / tokens), a bound on perplexity, exact for a language model
    mi: float  # paired estimate over at most `MI_SENTENCES` of the split, evenly spread
    mi_max: float  # what it can't exceed: the logarithm of their number
    au: int  # active units: dimensions whose posterior mean has variance ≥ 0.01 over the split
    active_dimensions: int  # dimensions with a mean KL of at least 0.01 nats
    kl_per_dim: list[float]  # mean KL of each dimension
    num_sentences: int
    num_tokens: int  # predicted

    @property
    def latent_dim(self) -> int:
        """Dimensions Z of z; 0 for a language model."""
        return len(self.kl_per_dim)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def evaluate(
    model: LatentModel,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Evaluation:
    """Measure the true ELBO and its parts on a split.

    Args:
        model: The model; its mode is left as it was found.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.
        seed: Seed of the posterior noise.
        processes: Who shares the batches; all must call this, with the same arguments.

    Returns:
        The split's `Evaluation`, in all processes.

    Raises:
        InputError: If there is no sentence, or the batches do not hold every one once.
    """
    noise = sentence_noise(num_sentences, model.latent_dim, seed)

    def measure(batch: Batch) -> tuple[Tensor, Posterior, Tensor]:
        posterior = model.encode(batch)
        z = posterior.sample(noise[batch.indices.cpu()].to(model.device))
        return -model.log_likelihood(batch, z), posterior, batch.lengths

    # In the split's order, so that no sum depends on how the batches were cut.
    rec, posterior, lengths = measure_split(model, batches, num_sentences, measure, processes)
    return summarise(rec, posterior, noise, int(lengths.sum()))


def summarise(rec: Tensor, posterior: Posterior, noise: Tensor, num_tokens: int) -> Evaluation:
    """The evaluation of M sentences with rec (M,) under z of the noise (M, Z)."""
    kl_per_dim = posterior.kl().double().mean(0)  # (Z,)
    mean_rec, mean_kl = float(rec.double().mean()), float(kl_per_dim.sum())
    rows = spread_rows(len(rec), MI_SENTENCES)
    information = mutual_information(posterior.map(itemgetter(rows)), noise=noise[rows])
    return Evaluation(
        rec=mean_rec,
        kl=mean_kl,
        elbo=-(mean_rec + mean_kl),
        elbo_ppl=perplexity((mean_rec + mean_kl) * len(rec), num_tokens),
        mi=information.mi,
        mi_max=information.mi_max,
        au=active_units(posterior.mean.double()),
        active_dimensions=active_dimensions(kl_per_dim),
        kl_per_dim=kl_per_dim.tolist(),
        num_sentences=len(rec),
        num_tokens=num_tokens,
    )


def perplexity(nats: float, num_tokens: int) -> float:
    """exp(nats / tokens), EOS counted, BOS not; infinity where that is beyond a float."""
    at_least(1, num_tokens=num_tokens)
    per_token = nats / num_tokens
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


def bits_per_token(nats: float, num_tokens: int) -> float:
    """Nats / (tokens · ln 2): bits per character where tokens are characters."""
    at_least(1, num_tokens=num_tokens)
    return nats / num_tokens / math.log(2)
