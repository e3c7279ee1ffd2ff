"""Many runs in few figures: the tables, pictures and files of a study."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textvae.files import replacing, write_json
from textvae.report.pictures import Panel, checked_path, require_matplotlib


class Band(NamedTuple):
    """A curve of several seeds, over the x that all of them have: mean, least and largest y."""

    xs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def summary(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Mean ± standard deviation over the seeds of each `name`, a line each for `markdown`.

    `columns` are the title of each column, and the key in `rows` that it shows.
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
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{deviation}"


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines of like keys as a Markdown table."""
    if not lines:
        return ""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def bands(curves: Sequence[Sequence[tuple[float, float]]]) -> Band:
    """Mean and range of one curve of points (x, y) per seed, at least one."""
    by_x = [dict(curve) for curve in curves]
    xs = sorted(set(by_x[0]).intersection(*by_x[1:]))
    values = [[curve[x] for curve in by_x] for x in xs]
    mean = list(map(statistics.fmean, values))
    return Band(xs, mean, list(map(min, values)), list(map(max, values)))


def panel(several: Mapping[str, Band], *, xlabel: str, ylabel: str, logx: bool = False) -> Panel:
    """A chart of mean curves by configuration, each with its range over seeds around it."""
    return Panel(
        curves={name: (band.xs, band.mean) for name, band in several.items()},
        bands={name: (band.low, band.high) for name, band in several.items()},
        xlabel=xlabel,
        ylabel=ylabel,
        logx=logx,
    )


def check(path: Path) -> None:
    """Find out before hours of training whether `write` will be able to; makes the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checked_path(path.with_suffix(".png"))
    require_matplotlib()


def write(path: Path, text: str, content: Mapping[str, Any], draw: Callable[[Path], None]) -> str:
    """Write `PATH.md`, `PATH.json`, and `PATH.png` by `draw`; what to say of it in the terminal."""
    with replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(path.with_suffix(".json"), content)
    draw(path.with_suffix(".png"))
    return f"{text}\nwritten: {path}.md, .json, .png"
