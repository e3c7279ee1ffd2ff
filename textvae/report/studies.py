"""Many runs in few figures.

Offers `summary`, `spread` and `markdown` for tables, `bands` (a `Band`) and `panel` for pictures.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from textvae.report.pictures import Panel

__all__ = ["Band", "bands", "markdown", "panel", "spread", "summary"]


class Band(NamedTuple):
    """A curve of several seeds.

    Attributes:
        xs: Where it is known: what all seeds have.
        mean: Mean over seeds.
        low: Least over seeds.
        high: Largest over seeds.
    """

    xs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def summary(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """One line per configuration: mean ± standard deviation over its seeds.

    Args:
        rows: One per run; `name` is its configuration.
        columns: Title of each column, and the key in `rows` that it shows.

    Returns:
        Lines for `markdown` or `table`, in the order in which names first appear. None is shown
        as nothing.
    """
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        cells = {title: spread(row[key] for row in own) for title, key in columns.items()}
        lines.append({"": name, "seeds": str(len(own)), **cells})
    return lines


def spread(values: Iterable[float | None]) -> str:
    """Mean ± standard deviation over runs (n − 1), with as many digits as the size asks for."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = statistics.fmean(known)
    digits = 3 if abs(mean) < 0.1 else 2
    if all(isinstance(value, int) for value in known):
        digits = 1  # counts
    if len(known) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(known):.{digits}f}"


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines of like keys as a Markdown table."""
    if not lines:
        return ""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def bands(curves: Sequence[Sequence[tuple[float, float]]]) -> Band:
    """Mean and range of one curve per seed, over the points that all of them have.

    Args:
        curves: Points (x, y), one list per seed.

    Raises:
        ValueError: If there is no curve.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    by_x = [dict(curve) for curve in curves]
    xs = sorted(set(by_x[0]).intersection(*by_x[1:]))
    values = [[curve[x] for curve in by_x] for x in xs]
    return Band(
        xs,
        [statistics.fmean(several) for several in values],
        [min(several) for several in values],
        [max(several) for several in values],
    )


def panel(several: Mapping[str, Band], *, xlabel: str, ylabel: str, logx: bool = False) -> Panel:
    """A chart of mean curves, each with its range over seeds around it.

    Args:
        several: A band per configuration, by name.
        xlabel: What x is, with its unit.
        ylabel: What y is, with its unit.
        logx: Whether x has a logarithmic scale.
    """
    return Panel(
        curves={name: (band.xs, band.mean) for name, band in several.items()},
        bands={name: (band.low, band.high) for name, band in several.items()},
        xlabel=xlabel,
        ylabel=ylabel,
        logx=logx,
    )
