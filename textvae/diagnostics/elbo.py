"""The true ELBO and its parts on a split.

Offers `evaluate`, which measures a model on a split, and its result `Evaluation`.

Evaluation is at β = 1 with z drawn from the posterior, in fp32, without any dropout. The noise of
each sentence belongs to the sentence, so results do not depend on batch size or order.

Shapes: M sentences of a split, B of a batch, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.diagnostics.information import mutual_information
from textvae.diagnostics.latent_model import evaluation_mode
from textvae.diagnostics.perplexity import perplexity
from textvae.diagnostics.units import active_dimensions, active_units
from textvae.losses import kl_per_dimension
from textvae.model import SentenceVAE
from textvae.runtime import ALONE, Processes

__all__ = ["MI_SENTENCES", "Evaluation", "evaluate"]

MI_SENTENCES = 2000
"""Sentences whose mutual information with z is estimated: all pairs of them are compared."""


@dataclass(frozen=True)
class Evaluation:
    """A model's terms on a split, means over sentences, nats per sentence.

    Attributes:
        rec: −E_q[log p(x|z)], summed over predicted tokens (EOS counted, BOS not).
        kl: Raw KL(q(z|x) ‖ p(z)), summed over dimensions.
        elbo: −(rec + kl).
        elbo_ppl: exp(−ELBO / predicted tokens): an upper bound on perplexity, exact for a
            language model.
        mi: Mutual information of sentence and z, by the paired estimator over `MI_SENTENCES` of
            the split at most, evenly spread.
        mi_max: What it can't exceed: the logarithm of their number.
        au: Active units: dimensions whose posterior mean has variance ≥ 0.01 over the split.
        active_dimensions: Dimensions with a mean KL of at least 0.01 nats.
        kl_per_dim: Mean KL of each dimension.
        num_sentences: Sentences measured.
        num_tokens: Predicted tokens measured.
    """

    rec: float
    kl: float
    elbo: float
    elbo_ppl: float
    mi: float
    mi_max: float
    au: int
    active_dimensions: int
    kl_per_dim: list[float]
    num_sentences: int
    num_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@torch.no_grad()
def evaluate(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    seed: int = 0,
    before_batch: Callable[[], None] | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Measure the true ELBO and its parts on a split.

    The model's mode is left as it was found.

    Args:
        model: The model.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.
        seed: Seed of the posterior noise.
        before_batch: Called before each batch: a progress bar's or an interruption's place.
        processes: Who shares the batches; all must call this, with the same arguments.

    Returns:
        The split's `Evaluation`, in all processes.

    Raises:
        ValueError: If there is no sentence to measure.
    """
    noise = torch.randn(
        num_sentences, model.latent_dim, generator=torch.Generator().manual_seed(seed)
    )
    recs, mus, logvars, indices, num_tokens = [], [], [], [], 0
    with evaluation_mode(model):
        for batch in processes.share(batches):
            if before_batch is not None:
                before_batch()
            batch = batch.to(model.device)
            out = model(batch, noise[batch.indices.cpu()].to(model.device))
            recs.append(out.terms["rec"].double().cpu())
            mus.append(out.posterior.parameters[0].cpu())
            logvars.append(out.posterior.parameters[1].cpu())
            indices.append(batch.indices.cpu())
            num_tokens += batch.num_tokens
    found = [
        [part for process in processes.gather(own) for part in process]
        for own in (recs, mus, logvars, indices)
    ]
    if not found[0]:
        raise ValueError("there is no sentence to evaluate on")
    # In the split's order, so that no sum depends on how the batches were cut.
    order = torch.cat(found[3]).argsort()
    rec, mu, logvar = (torch.cat(parts)[order] for parts in found[:3])
    return _summary(rec, mu, logvar, noise, sum(processes.gather(num_tokens)))


def _summary(rec: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor, num_tokens: int) -> Evaluation:
    kl_per_dim = kl_per_dimension(mu, logvar).double().mean(0)  # (Z,)
    mean_rec, mean_kl = float(rec.mean()), float(kl_per_dim.sum())
    size = min(len(mu), MI_SENTENCES)
    rows = torch.arange(size) * len(mu) // size
    information = mutual_information(mu[rows], logvar[rows], noise=noise[rows])
    return Evaluation(
        rec=mean_rec,
        kl=mean_kl,
        elbo=-(mean_rec + mean_kl),
        elbo_ppl=perplexity((mean_rec + mean_kl) * len(rec), num_tokens),
        mi=information.mi,
        mi_max=information.mi_max,
        au=active_units(mu.double()),
        active_dimensions=active_dimensions(kl_per_dim),
        kl_per_dim=kl_per_dim.tolist(),
        num_sentences=len(rec),
        num_tokens=num_tokens,
    )
