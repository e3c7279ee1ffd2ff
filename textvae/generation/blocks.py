"""The largest of many scores, and a draw among many probabilities: `largest` and `drawn`.

Both look at sums or maxima of blocks of the vocabulary first and then into the few blocks that
matter: the results of `topk` and of a search in the running sum, at a tenth of their time on a CPU.

Shapes: B rows, V columns, K results, N blocks of S columns, the last one shorter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["drawn", "largest"]

SMALL = 1024
"""Columns below which blocks don't pay."""


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest of each row.

    Args:
        scores: (B, V).
        k: From 1 to V.

    Returns:
        Values and columns, each (B, K), the largest first. Which of equal scores comes first is
        not said.
    """
    width = _width(scores)
    if scores.shape[1] < SMALL or k * width > scores.shape[1]:
        values, columns = scores.topk(k)
        return values, columns
    maxima = torch.cat([part.amax(-1) for part in _blocks(scores, width)], 1)  # (B, N)
    columns = _columns(maxima.topk(k).indices, width)  # (B, K · S)
    inside = scores.gather(1, columns.clamp(max=scores.shape[1] - 1))
    values, places = inside.masked_fill(columns >= scores.shape[1], -torch.inf).topk(k)
    return values, columns.gather(1, places)


def drawn(probabilities: Tensor, shares: Tensor) -> Tensor:
    """The column of each row below which a share of the probability lies.

    Args:
        probabilities: (B, V), at least 0 and not all 0; they need not add up to 1.
        shares: Strictly between 0 and 1, (B,).

    Returns:
        Columns of positive probability, (B,).
    """
    width = _width(probabilities)
    sums = torch.cat([part.sum(-1) for part in _blocks(probabilities, width)], 1)
    mass = sums.cumsum(-1)
    below = (shares * mass[:, -1]).to(mass.dtype)[:, None]
    block = torch.searchsorted(mass, below, right=True).clamp(max=mass.shape[1] - 1)  # (B, 1)
    columns = _columns(block, width).clamp(max=probabilities.shape[1] - 1)
    rest = below - (mass - sums).gather(1, block)
    inside = probabilities.gather(1, columns).cumsum(-1)
    place = torch.searchsorted(inside, rest, right=True).clamp(max=width - 1)
    column = columns.gather(1, place)
    # A share next to 1, or a rounding where blocks meet, can hit a probability of 0.
    possible = probabilities.gather(1, column) > 0
    if not bool(possible.all()):
        column = torch.where(possible, column, probabilities.argmax(-1, keepdim=True))
    return column[:, 0]


def _width(scores: Tensor) -> int:
    """Columns of a block: about the root of all, a power of 2, which vector units like."""
    return int(2 ** (math.log2(scores.shape[1]) // 2))


def _blocks(scores: Tensor, width: int) -> list[Tensor]:
    """(B, V) as (B, V // S, S) and, where something is left, (B, 1, V % S)."""
    whole = scores.shape[1] // width * width
    parts = [scores[:, :whole].view(len(scores), -1, width), scores[:, None, whole:]]
    return [part for part in parts if part.shape[-1] > 0]


def _columns(blocks: Tensor, width: int) -> Tensor:
    """All columns of blocks (B, K): (B, K · S), beyond the last one where a block is short."""
    return (blocks[:, :, None] * width + torch.arange(width, device=blocks.device)).flatten(1)
