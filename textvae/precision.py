"""In which arithmetic matrices are multiplied: `resolve_precision` and `autocast`."""

from __future__ import annotations

import torch

__all__ = ["autocast", "resolve_precision"]


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type in which to multiply matrices.

    Args:
        precision: `"fp32"`, `"bf16"`, or `"auto"`: bf16 where the hardware multiplies it natively.
        device: Where the model is.

    Returns:
        `torch.float32` or `torch.bfloat16`.
    """
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported()
        else:
            native = device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context of the forward pass; parameters, losses and KL stay in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)
