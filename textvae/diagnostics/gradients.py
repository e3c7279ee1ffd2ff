"""The size of a model's gradients, worth watching in training.

Offers `gradient_norm` of any module, and `gradient_norms` of a model's encoder and decoder apart:
an encoder whose gradient dies while the decoder's does not is how a collapse begins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from textvae.model import SentenceVAE

__all__ = ["GradientNorms", "gradient_norm", "gradient_norms"]


class GradientNorms(NamedTuple):
    """Norms of gradients, scalars on the model's device.

    Attributes:
        total: Of all gradients taken as one vector: what clipping goes by.
        encoder: Of all that is not the decoder: encoder and posterior heads.
        decoder: Of the decoder.
    """

    total: Tensor
    encoder: Tensor
    decoder: Tensor


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of all gradients taken as one vector, a scalar on the model's device."""
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def gradient_norms(model: SentenceVAE) -> GradientNorms:
    """Norms of a model's gradients, whole and by part, for the cost of the whole.

    Returns:
        The norms; 0 for a part without gradients, as a language model's encoder.
    """
    named = [(name, p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None]
    if not named:
        return GradientNorms(*torch.zeros(3))
    norms = torch.stack([norm for _, norm in named])
    is_decoder = norms.new_tensor([name.startswith("decoder.") for name, _ in named])
    return GradientNorms(
        norms.norm(), (norms * (1 - is_decoder)).norm(), (norms * is_decoder).norm()
    )
