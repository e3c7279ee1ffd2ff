"""Standard normal numbers by seed, apart from torch's own generator."""

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def draws(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draws64(*shape: int, seed: int = 0) -> Tensor:
    return draws(*shape, seed=seed, dtype=torch.float64)


def drawn_anew(module: Module, seed: int = 0, std: float = 0.8) -> Module:
    """A module with other parameters: so large that a mix-up of any shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, std, generator=generator)
    return module
