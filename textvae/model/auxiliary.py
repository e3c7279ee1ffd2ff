"""Further losses on z that keep it from being ignored, by the name of the option that weighs them.

Shapes: B sentences, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textvae.config import ModelConfig

AUXILIARIES: dict[str, Callable[[int, ModelConfig], Any]] = {}
"""By the names of the options that hold their weights: modules that take a batch and its codes z
(B, Z) and give nats per sentence (B,), built from the vocabulary's size and the model's
configuration. In training each is a term of the loss where its weight is not 0."""
