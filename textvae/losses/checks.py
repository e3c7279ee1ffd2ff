"""What the losses refuse alike: `choose` from a table, `refuse_negative`, `refuse_nan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["choose", "refuse_nan", "refuse_negative"]

T = TypeVar("T")


def choose(table: Mapping[str, T], argument: str, name: str) -> T:
    """The table's entry of that name.

    Raises:
        ValueError: If there is none, with the names there are.
    """
    if name not in table:
        known = ", ".join(map(repr, table))
        raise ValueError(f"{argument} must be one of {known}, got {name!r}")
    return table[name]


def refuse_negative(argument: str, value: float, unit: str = "") -> None:
    """Refuse what is below 0, or NaN.

    Raises:
        ValueError: With the argument's name and the value got.
    """
    if not value >= 0:
        raise ValueError(f"{argument} must be at least 0{unit}, got {value}")


def refuse_nan(**tensors: Tensor) -> None:
    """Refuse tensors that hold NaN. Reads once back from the accelerator.

    Raises:
        ValueError: With all names and the number of NaN in each.
    """
    counts = torch.stack([tensor.isnan().sum() for tensor in tensors.values()]).tolist()
    if any(counts):
        found = " and ".join(f"{n} in {name}" for name, n in zip(tensors, counts, strict=True))
        raise ValueError(f"{' and '.join(tensors)} must hold no NaN, got {found}")
