"""Training: `Trainer`, whose loop reads from top to bottom in `trainer.py`, and its parts."""

from textvae.training.remedies import REMEDIES, Remedy
from textvae.training.schedule import Plateau, SafeInterrupt, configured_annealer, safe_interrupts
from textvae.training.trainer import Trainer, TrainingError
