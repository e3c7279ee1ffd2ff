"""Random numbers that belong to a sentence: the same whatever batch it is decoded in.

`uniforms` and `normals` are pure functions of (seed, purpose, row, column): no state, no order of
calls, the same on every device. A row is a sentence's place, a column its step or dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOKEN, NOISE, CHOICE = 0, 1, 2
"""Purposes: which token comes next, the noise of z, which text z is taken from."""

BITS = 48
"""Of a uniform number: few enough for float64 to hold those next to 1 exactly."""


def _signed(value: int) -> int:
    """The int64 with the same bits."""
    return (value + 2**63) % 2**64 - 2**63


GOLDEN = _signed(0x9E3779B97F4A7C15)
ROUNDS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1))


def uniforms(seed: int, purpose: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Numbers evenly from between 0 and 1, both excluded, float64, of the shape that broadcasts.

    The seed counts modulo 2⁶⁴; numbers of unlike purposes have nothing to do with each other.

    Reference:
        Steele, Lea & Flood (2014), Fast Splittable Pseudorandom Number Generators: SplitMix64,
        once for each part of the key.
    """
    key = torch.tensor(_signed(seed), device=rows.device)
    for part in (torch.full_like(key, purpose), rows, columns):
        key = key + GOLDEN * (part + 1)
        for by, factor in ROUNDS:
            key = (key ^ _shift(key, by)) * factor
    numbers: Tensor = (_shift(key, 64 - BITS).double() + 0.5) / 2**BITS
    return numbers


def normals(seed: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Standard normal numbers for z, fp32, made of the `NOISE` of `uniforms`."""
    numbers: Tensor = torch.special.ndtri(uniforms(seed, NOISE, rows, columns)).float()
    return numbers


def _shift(key: Tensor, by: int) -> Tensor:
    """Shift to the right without the sign."""
    shifted: Tensor = (key >> by) & (2 ** (64 - by) - 1)
    return shifted
