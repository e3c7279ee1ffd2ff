"""Standard normal numbers by seed, apart from torch's own generator."""

import torch
from torch import Tensor


def draws(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draws64(*shape: int, seed: int = 0) -> Tensor:
    return draws(*shape, seed=seed, dtype=torch.float64)
