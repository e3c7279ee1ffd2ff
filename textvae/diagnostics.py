"""What the latent space carries: the true ELBO, KL per dimension, active units.

Offers `evaluate`, which measures a model on a split, its result `Evaluation`, and the two norms
worth watching in training, `gradient_norm` and `active_units`.

Evaluation is at β = 1 with z drawn from the posterior, in fp32, without any dropout. The noise of
each sentence belongs to the sentence, so results do not depend on batch size or order.

Shapes: M sentences of a split, B of a batch, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textvae.batch import Batch
from textvae.losses import kl_per_dimension
from textvae.model import SentenceVAE

__all__ = ["Evaluation", "active_units", "evaluate", "gradient_norm"]

ACTIVE_VARIANCE = 0.01
"""Threshold on Var_x(mu_d) for active units (Burda et al. 2016)."""

ACTIVE_KL = 0.01
"""Threshold on a dimension's mean KL, nats, for active dimensions."""


@dataclass(frozen=True)
class Evaluation:
    """A model's terms on a split, means over sentences, nats per sentence.

    Attributes:
        rec: −E_q[log p(x|z)], summed over predicted tokens (EOS counted, BOS not).
        kl: Raw KL(q(z|x) ‖ p(z)), summed over dimensions.
        elbo: −(rec + kl).
        elbo_ppl: exp(−ELBO / predicted tokens): an upper bound on perplexity, exact for a
            language model.
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
) -> Evaluation:
    """Measure the true ELBO and its parts on a split.

    The model's mode is left as it was found.

    Args:
        model: The model.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.
        seed: Seed of the posterior noise.
        before_batch: Called before each batch: a progress bar's or an interruption's place.

    Returns:
        The split's `Evaluation`.

    Raises:
        ValueError: If there is no sentence to measure.
    """
    noise = torch.randn(
        num_sentences, model.latent_dim, generator=torch.Generator().manual_seed(seed)
    )
    recs, kls, mus, num_tokens = [], [], [], 0
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            if before_batch is not None:
                before_batch()
            batch = batch.to(model.device)
            out = model(batch, noise[batch.indices.cpu()].to(model.device))
            recs.append(out.rec.double().cpu())
            kls.append(kl_per_dimension(out.mu, out.logvar).double().cpu())
            mus.append(out.mu.double().cpu())
            num_tokens += int(batch.lengths.sum())
    finally:
        model.train(was_training)
    if not recs:
        raise ValueError("there is no sentence to evaluate on")
    return _summary(torch.cat(recs), torch.cat(kls), torch.cat(mus), num_tokens)


def _summary(rec: Tensor, kl: Tensor, mu: Tensor, num_tokens: int) -> Evaluation:
    kl_per_dim = kl.mean(0)  # (Z,)
    mean_rec, mean_kl = float(rec.mean()), float(kl_per_dim.sum())
    per_token = (mean_rec + mean_kl) * len(rec) / num_tokens
    return Evaluation(
        rec=mean_rec,
        kl=mean_kl,
        elbo=-(mean_rec + mean_kl),
        elbo_ppl=math.inf if per_token > 700 else math.exp(per_token),
        au=active_units(mu),
        active_dimensions=int((kl_per_dim >= ACTIVE_KL).sum()),
        kl_per_dim=kl_per_dim.tolist(),
        num_sentences=len(rec),
        num_tokens=num_tokens,
    )


def active_units(mu: Tensor, threshold: float = ACTIVE_VARIANCE) -> int:
    """Number of dimensions whose posterior mean varies over the data.

    Args:
        mu: Posterior means of a data set, (M, Z).
        threshold: Least variance over sentences.

    Returns:
        Count of dimensions with Var_x(mu_d) ≥ threshold.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, section 5.2.
    """
    # Not `var`, which warns where there are no dimensions: a language model's.
    return int(((mu - mu.mean(0)).square().mean(0) >= threshold).sum())


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of all gradients taken as one vector, a scalar on the model's device."""
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())
