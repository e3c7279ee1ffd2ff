"""What the latent space carries, and how well a model predicts.

Offers `evaluate`, which measures the true ELBO of a model on a split, its result `Evaluation`, and
the two figures worth watching in training, `gradient_norm` and `active_units`.
"""

from __future__ import annotations

from textvae.diagnostics.elbo import Evaluation, evaluate
from textvae.diagnostics.gradients import GradientNorms, gradient_norm, gradient_norms
from textvae.diagnostics.units import ACTIVE_KL, ACTIVE_VARIANCE, active_units

__all__ = [
    "ACTIVE_KL",
    "ACTIVE_VARIANCE",
    "Evaluation",
    "GradientNorms",
    "active_units",
    "evaluate",
    "gradient_norm",
    "gradient_norms",
]
