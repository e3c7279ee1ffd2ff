"""Tables and bars of characters: `table`, and `kl_bars`, a line of bars of KL per dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["BARS", "kl_bars", "table"]

BARS = " ▁▂▃▄▅▆▇█"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of like keys as an aligned text table, two decimals where there is a fraction."""
    if not rows:
        return ""
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def kl_bars(kl_per_dim: Sequence[float]) -> str:
    """KL of each dimension as a line of bars, the busiest first; full height is the largest.

    Dimensions under a thousandth of a nat are blank, so that a collapsed one shows as nothing.
    """
    if not kl_per_dim:
        return "no latent dimensions (a language model)"
    ordered = sorted(kl_per_dim, reverse=True)
    top = ordered[0]
    bars = "".join(_bar(value, top) for value in ordered)
    return f"│{bars}│ {len(ordered)} dimensions, largest {top:.3f} nats"


def _bar(value: float, top: float) -> str:
    if value < 0.001:
        return BARS[0]
    return BARS[max(1, round(value / top * (len(BARS) - 1)))]
