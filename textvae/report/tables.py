"""Tables and bars of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def bars(values: Sequence[float], top: float) -> str:
    """A bar for each value from 0 to `top`; that of 0 is blank, and no other is."""
    heights = (max(1, round(value / top * (len(BARS) - 1))) if value > 0 else 0 for value in values)
    return "".join(BARS[height] for height in heights)


def kl_bars(kl_per_dim: Sequence[float]) -> str:
    """KL of each dimension as a line of bars, the busiest first; full height is the largest.

    Dimensions under a thousandth of a nat are blank, so that a collapsed one shows as nothing.
    """
    if not kl_per_dim:
        return "no latent dimensions (a language model)"
    top, *_ = ordered = sorted(kl_per_dim, reverse=True)
    shown = bars([value if value >= 0.001 else 0.0 for value in ordered], top)
    return f"│{shown}│ {len(ordered)} dimensions, largest {top:.3f} nats"
