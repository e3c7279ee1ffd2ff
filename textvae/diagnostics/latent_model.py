"""What the estimators ask of a model, and how they go through a split.

The noise of a sentence belongs to the sentence: results depend neither on batch size nor on the
order of batches.

Shapes: M sentences of a split, B of a batch, S codes of each, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError
from textvae.model import Posterior
from textvae.runtime import ALONE, Processes, full_speed

T = TypeVar("T")

Progress = Callable[[Sequence[Batch], str], Iterable[Batch]]
"""Gives the same batches back, with a progress bar of that title around them."""


class LatentModel(Protocol):
    """A model that encodes sentences and scores them given z; `SentenceVAE` is one.

    Attributes:
        latent_dim: Dimensions Z of z; 0 for a language model.
        training: Whether dropout is on.
    """

    latent_dim: int
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
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_sentences, latent_dim, generator=generator)


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
    measure: Callable[[Batch], T],
    processes: Processes = ALONE,
) -> tuple[list[T], Tensor]:
    """What `measure` finds in each batch, and the order that sorts their rows as in the split.

    Raises:
        InputError: Unless the batches hold each of the split's sentences once, and at least one.
    """
    own = []
    with evaluation_mode(model):
        for batch in processes.share(batches):
            own.append((batch.indices.cpu(), measure(batch.to(model.device))))
    found = [part for parts in processes.gather(own) for part in parts]
    if not found:
        raise InputError("there is no sentence to evaluate on")
    rows, order = torch.cat([indices for indices, _ in found]).sort()
    if not rows.equal(torch.arange(num_sentences)):
        raise InputError(
            f"batches must hold every sentence of the split once, got {len(rows.unique())} of "
            f"{num_sentences} in {len(rows)} rows"
        )
    return [value for _, value in found], order


def posteriors(model: LatentModel, batches: Iterable[Batch], num_sentences: int) -> Posterior:
    """Encode a split.

    Args:
        model: The model; its mode is left as it was found.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.

    Returns:
        The posteriors of M sentences, on the CPU, in the split's order.

    Raises:
        InputError: If the batches do not hold every sentence once.
    """
    parts, order = measure_split(model, batches, num_sentences, lambda b: on_cpu(model.encode(b)))
    return put_together(parts, order)


def on_cpu(posterior: Posterior) -> Posterior:
    """The same posteriors, their parameters on the CPU."""
    return posterior.map(lambda parameter: parameter.cpu())


def take(posterior: Posterior, rows: Tensor) -> Posterior:
    """The posteriors of some sentences, in that order."""
    return posterior.map(lambda parameter: parameter[rows])


def put_together(parts: Sequence[Posterior], order: Tensor) -> Posterior:
    """The posteriors of a split, in its order, from those of its batches."""
    return take(type(parts[0]).cat(parts), order)
