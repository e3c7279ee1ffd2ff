"""What the decoder takes from z: its NLL with z taken away in three ways.

Offers `z_ablation` and its result `Ablation`.

The noise of a sentence belongs to the sentence, and so does whose z it is given: results depend
neither on batch size nor on the order of batches.

Shapes: B sentences of a batch, M of a split, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.diagnostics.latent_model import LatentModel, evaluation_mode

__all__ = ["Ablation", "z_ablation"]


@dataclass(frozen=True)
class Ablation:
    """Mean over sentences of −log p(x|z), nats per sentence, with four kinds of z.

    Attributes:
        own: z drawn from the sentence's posterior: rec.
        shuffled: z drawn from the posterior of another sentence of the split.
        prior: z drawn from the prior.
        zero: z = 0.
    """

    own: float
    shuffled: float
    prior: float
    zero: float

    @property
    def used(self) -> float:
        """What the decoder takes from z, shuffled − own: 0 where it does not listen to it."""
        return self.shuffled - self.own


@torch.no_grad()
def z_ablation(
    model: LatentModel,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    seed: int = 0,
    before_batch: Callable[[], None] | None = None,
) -> Ablation:
    """Measure how much worse a decoder fares without the z of its sentence.

    Whose z a sentence is given is drawn over the whole split: within a batch of like length it
    would still tell the length. The model's mode is left as it was found.

    Args:
        model: The model; nothing changes for a language model, which has no z.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split, at least 2.
        seed: Seed of all draws; `own` is the rec of `evaluate` with the same seed.
        before_batch: Called before each batch is decoded: a progress bar's or an interruption's
            place.

    Returns:
        The `Ablation`.

    Raises:
        ValueError: If there are fewer than 2 sentences, or not as many as `num_sentences` says.
    """
    split = list(batches)
    found = sum(batch.num_sentences for batch in split)
    if num_sentences < 2:
        raise ValueError(f"num_sentences must be at least 2 to exchange z, got {num_sentences}")
    if found != num_sentences:
        raise ValueError(f"batches must hold num_sentences = {num_sentences}, got {found}")
    with evaluation_mode(model):
        codes = _codes(model, split, num_sentences, seed)  # (4, M, Z)
        nll = torch.zeros(len(codes), dtype=torch.float64)
        for batch in split:
            if before_batch is not None:
                before_batch()
            z = codes[:, batch.indices.cpu()].to(model.device)
            nll -= model.log_likelihood(batch.to(model.device), z).cpu().double().sum(1)
    return Ablation(*(nll / num_sentences).tolist())


def _codes(model: LatentModel, split: list[Batch], num_sentences: int, seed: int) -> Tensor:
    """Each sentence's four z in the order of `Ablation`, (4, M, Z)."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_sentences, model.latent_dim, generator=random)
    prior = torch.randn(num_sentences, model.latent_dim, generator=random)
    own = torch.empty_like(noise)
    for batch in split:
        indices = batch.indices.cpu()
        posterior = model.encode(batch.to(model.device))
        own[indices] = posterior.sample(noise[indices].to(model.device)).to(own)
    # One cycle through all sentences: nobody is left with their own.
    cycle = torch.randperm(num_sentences, generator=random)
    giver = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
    return torch.stack([own, own[giver], prior, torch.zeros_like(own)])
