"""The arithmetic limit: what a model must compute for a token, and how fast a machine multiplies.

A rate's share of the limit is the time that the model's matrix products alone would take, done as
fast as large square ones are, over the time that was taken.
"""

from __future__ import annotations

import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from textvae.model import SentenceVAE
from textvae.runtime import full_speed

__all__ = ["CPU", "flops_per_layer", "flops_per_token", "matrix_rate", "settle"]

CPU = torch.device("cpu")

SIDE, SIDE_ON_ACCELERATOR = 2048, 8192
"""Of the square matrices: large enough to keep a processor busy."""

PRODUCTS = 5
"""Of which the median counts."""


def flops_per_layer(model: SentenceVAE, length: float, *, encodings: float = 1) -> dict[str, float]:
    """Floating-point operations of a forward pass for each real token, by layer.

    A multiply-add is two; looking up an embedding is none; what is done for each element of a
    vector is left out. What z adds to the decoder is the same at all steps of a sentence, and so
    is counted once a sentence.

    Args:
        model: The model.
        length: Tokens of a sentence in the mean: over these goes what is done once a sentence.
        encodings: How often a sentence is encoded for each time it is decoded: 1 in training, 1/K
            with K samples, 0 where codes are decoded.
    """
    decoder = model.decoder
    from_z = z_weights(decoder.rnn, model.latent_dim) if decoder.latent_to_input else 0
    counts: dict[str, float] = {
        "decoder": weights(decoder.rnn) - from_z + from_z / length,
        "output": weights(decoder.output),
    }
    if decoder.latent_to_state:
        counts["initial state"] = weights(decoder.latent_to_cell) / length
    if model.latent_dim > 0:
        heads = weights(model.head.mu) + weights(model.head.logvar)
        counts["encoder"] = encodings * weights(model.encoder.rnn)
        counts["posterior"] = encodings * heads / length
    return {layer: 2 * count for layer, count in counts.items()}


def flops_per_token(
    model: SentenceVAE, length: float, *, encodings: float = 1, backward: bool = False
) -> float:
    """The sum of `flops_per_layer`; a backward pass costs as much as two forward."""
    return (3 if backward else 1) * sum(
        flops_per_layer(model, length, encodings=encodings).values()
    )


def weights(layer: nn.Module) -> int:
    """Numbers in a layer's matrices: each is multiplied and added once a token."""
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)


def z_weights(rnn: nn.RNNBase, latent_dim: int) -> int:
    """Of these, the ones that z meets on its way into the first layer."""
    return len(rnn.get_parameter("weight_ih_l0")) * latent_dim


def matrix_rate(precision: torch.dtype, device: torch.device = CPU) -> float:
    """Floating-point operations per second of a large square matrix product.

    By the quickest library there is: a limit that another one could exceed would be none.
    """
    side = SIDE if device.type == "cpu" else SIDE_ON_ACCELERATOR
    a, b = torch.randn(2, side, side, device=device).to(precision)
    seconds = []
    with full_speed(device):
        for _ in range(PRODUCTS + 1):
            start = time.perf_counter()
            F.linear(a, b)
            settle(device)
            seconds.append(time.perf_counter() - start)
    return 2 * side**3 / median(seconds[1:])  # the first one warms up


def settle(device: torch.device) -> None:
    """Wait until a device has done all that it was given: accelerators work on behind the clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
