"""In which arithmetic matrices are multiplied.

Offers `PRECISIONS`, `resolve_precision`, `autocast` and `product_dtype`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PRECISIONS", "autocast", "product_dtype", "resolve_precision"]

PRECISIONS = ("auto", "fp32", "bf16")

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""A CPU that has one of these multiplies bf16 at twice the rate of fp32 at least."""


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type in which to multiply matrices.

    Args:
        precision: `"fp32"`, `"bf16"`, or `"auto"`: bf16 where the hardware multiplies it natively.
        device: Where the model is.

    Returns:
        `torch.float32` or `torch.bfloat16`.

    Raises:
        ValueError: If there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported()
        else:
            able = torch.cpu.get_capabilities()
            native = device.type == "cpu" and any(able.get(name) for name in BF16_INSTRUCTIONS)
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context of the forward pass; parameters, losses and KL stay in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)


def product_dtype(weight: Tensor) -> torch.dtype:
    """The type in which a weight is multiplied: autocast's where that is on, else its own."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
