"""What the decoder takes from z: its NLL with z taken away in three ways.

Shapes: M sentences of a split, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import at_least
from textvae.diagnostics.latent_model import LatentModel, measure_split, posteriors
from textvae.model import Posterior


@dataclass(frozen=True)
class Ablation:
    """Mean over sentences of −log p(x|z), nats per sentence, with four kinds of z."""

    own: float  # z drawn from the sentence's posterior: rec
    shuffled: float  # z drawn from the posterior of another sentence of the split
    prior: float  # z drawn from the prior
    zero: float  # z = 0

    @property
    def used(self) -> float:
        """What the decoder takes from z, shuffled − own: 0 where it does not listen to it."""
        return self.shuffled - self.own


def z_ablation(
    model: LatentModel, batches: Iterable[Batch], num_sentences: int, *, seed: int = 0
) -> Ablation:
    """Measure how much worse a decoder fares without the z of its sentence.

    Whose z a sentence is given is drawn over the whole split: within a batch of like length it
    would still tell the length.

    Args:
        model: The model; of a language model, which has no z, all four are the same.
        batches: As for `evaluate`.
        num_sentences: Size M of the split, at least 2.
        seed: Seed of all draws; `own` is the rec of `evaluate` with the same seed.

    Raises:
        InputError: If there are fewer than 2 sentences, or the batches do not hold every one once.
    """
    at_least(2, num_sentences=num_sentences)
    split = list(batches)
    nll = ablated_nll(model, split, posteriors(model, split, num_sentences), seed)
    return Ablation(*nll.mean(0).tolist())


def ablated_nll(
    model: LatentModel, batches: Iterable[Batch], posterior: Posterior, seed: int
) -> Tensor:
    """−log p(x|z) of each sentence with each kind of z, in the order of `Ablation`, (M, 4) fp64."""
    codes = _codes(posterior, seed)  # (4, M, Z)

    def measure(batch: Batch) -> tuple[Tensor]:
        z = codes[:, batch.indices.cpu()].to(model.device)
        return (-model.log_likelihood(batch, z).T,)

    nll: list[Tensor] = measure_split(model, batches, len(posterior), measure)
    return nll[0].double()


def _codes(posterior: Posterior, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = posterior.mean.shape
    # The first draws are those of `sentence_noise`.
    own = posterior.sample(torch.randn(shape, generator=generator))
    prior = torch.randn(shape, generator=generator)
    # One cycle through all sentences: nobody is left with their own.
    cycle = torch.randperm(len(posterior), generator=generator)
    giver = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
    return torch.stack([own, own[giver], prior.to(own), torch.zeros_like(own)])
