"""Codes, and ways to change a model, for the tests of generation."""

from __future__ import annotations

import torch
from torch import Tensor

from textvae.model import SentenceVAE


def draw_codes(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal codes of a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def push(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
    """Make one token likelier, or less likely, everywhere."""
    with torch.no_grad():
        model.decoder.output.bias[token] += by
    return model
