"""What the estimators ask of a model, and how they go through a split.

The noise of a sentence belongs to the sentence: results depend neither on batch size nor on the
order of batches.

Shapes: M sentences of a split, B of a batch, S codes of each, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Protocol

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError
from textvae.model import Posterior
from textvae.runtime import ALONE, Processes, full_speed

Progress = Callable[[Sequence[Batch], str], Iterable[Batch]]
"""Gives the same batches back, with a progress bar of that title around them."""


class LatentModel(Protocol):
    """A model that encodes sentences and scores them given z; `SentenceVAE` is one."""

    latent_dim: int  # dimensions Z of z; 0 for a language model
    training: bool

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""

    def encode(self, batch: Batch) -> Posterior:
        """q(z|x) of each of B sentences."""

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) in nats: z (B, Z) → (B,), z (S, B, Z) → (S, B)."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""


def unwrapped(batches: Sequence[Batch], title: str) -> Iterable[Batch]:
    """The `Progress` that shows none."""
    return batches


def sentence_noise(num_sentences: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal draws, a row for each sentence of a split, (M, Z) fp32."""
    return torch.randn(num_sentences, latent_dim, generator=torch.Generator().manual_seed(seed))


@contextmanager
def evaluation_mode(model: LatentModel) -> Iterator[None]:
    """Context without dropout; the model's mode is left as it was found."""
    was_training = model.training
    model.train(False)
    try:
        with full_speed(model.device):
            yield
    finally:
        model.train(was_training)


@torch.no_grad()
def measure_split(
    model: LatentModel,
    batches: Iterable[Batch],
    num_sentences: int,
    measure: Callable[[Batch], tuple[Posterior | Tensor, ...]],
    processes: Processes = ALONE,
) -> list[Any]:
    """What `measure` finds in each batch, a row per sentence, put together in the split's order."""
    own = []
    with evaluation_mode(model):
        for batch in processes.share(batches):
            columns = (batch.indices, *measure(batch.to(model.device)))
            own.append([_mapped(Tensor.cpu, column) for column in columns])
    found = [parts for of_process in processes.gather(own) for parts in of_process]
    if not found:
        raise InputError("there is no sentence to evaluate on")
    indices, *joined = (
        torch.cat(parts) if isinstance(parts[0], Tensor) else type(parts[0]).cat(parts)
        for parts in zip(*found, strict=True)
    )
    order = indices.argsort()
    if not indices[order].equal(torch.arange(num_sentences)):
        raise InputError(
            f"batches must hold every sentence of the split once, got {len(indices.unique())} of "
            f"{num_sentences} in {len(indices)} rows"
        )
    return [_mapped(itemgetter(order), column) for column in joined]


def _mapped(function: Callable[[Any], Any], rows: Posterior | Tensor) -> Any:
    return rows.map(function) if isinstance(rows, Posterior) else function(rows)


def posteriors(model: LatentModel, batches: Iterable[Batch], num_sentences: int) -> Posterior:
    """Encode a split, as `evaluate` takes it: M posteriors on the CPU, in the split's order."""
    encoded: list[Posterior]
    encoded = measure_split(model, batches, num_sentences, lambda batch: (model.encode(batch),))
    return encoded[0]
