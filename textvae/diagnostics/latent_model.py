"""What the estimators ask of a model: `LatentModel`, and `evaluation_mode`.

Anything that encodes a batch and scores it given z can be measured, `SentenceVAE` among others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.model import Posterior
from textvae.runtime import full_speed

__all__ = ["LatentModel", "evaluation_mode"]


class LatentModel(Protocol):
    """A model with a diagonal Gaussian posterior and a standard normal prior.

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
        """The posterior of each of B sentences: means and log-variances, (B, Z)."""

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) of B sentences under each of S codes, nats: z (S, B, Z) → (S, B)."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""


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
