"""Remedies with a will of their own: objects that act beside the steps of a training.

A remedy that is a loss, a head, an annealer or an option has its place elsewhere; here is what
updates a part of the model alone, changes an option from step to step, or averages weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from textvae.config import TrainingConfig
from textvae.diagnostics import Evaluation

if TYPE_CHECKING:
    from textvae.training.trainer import Trainer


class Remedy(Protocol):
    """What the trainer asks of a remedy; its state is saved and resumed with the rest."""

    def before_step(self, trainer: Trainer) -> None:
        """Act before each step."""

    def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Act on each evaluation."""

    def state_dict(self) -> dict[str, Any]:
        """All that continuing to the same result needs: plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


REMEDIES: dict[str, Callable[[TrainingConfig], Remedy]] = {}
"""By the names of the options that ask for them: remedies, built from the configuration where that
option is not 0."""
