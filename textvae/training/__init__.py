"""Training: `Trainer`, whose loop reads from top to bottom in `trainer.py`, and its parts."""

from textvae.training.plateau import Plateau
from textvae.training.trainer import Trainer, TrainingError

__all__ = ["Plateau", "Trainer", "TrainingError"]
