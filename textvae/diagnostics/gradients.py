"""The size of gradients: an encoder's that dies while the decoder's does not begins a collapse."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from textvae.model import SentenceVAE


class GradientNorms(NamedTuple):
    """Norms of gradients, scalars on the model's device."""

    total: Tensor  # of all gradients taken as one vector: what clipping goes by
    encoder: Tensor  # of all that is not the decoder: encoder and posterior heads
    decoder: Tensor


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of all gradients taken as one vector, a scalar on the model's device."""
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def gradient_norms(model: SentenceVAE) -> GradientNorms:
    """Norms of a model's gradients, whole and by part; 0 for a part without gradients."""
    named = [(name, p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None]
    if not named:
        return GradientNorms(*torch.zeros(3))
    norms = torch.stack([norm for _, norm in named])
    is_decoder = norms.new_tensor([name.startswith("decoder.") for name, _ in named])
    parts = norms, norms * (1 - is_decoder), norms * is_decoder
    return GradientNorms(*(part.norm() for part in parts))
