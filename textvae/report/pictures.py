"""Pictures for people: charts of lines in one style, written whole or not at all.

Offers `line_chart` for one chart, `panel_chart` for several side by side (a `Panel` each), and for
other kinds of picture what these are made of: `new_figure`, `save`, and `checked_path`, which
refuses a bad file name before anything long is computed.

The same data make the same bytes with the same matplotlib: no dates are written, and nobody's own
matplotlib settings count. Needs the extra `textvae[plot]`, imported when the first picture is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.files import replacing
from textvae.report.plotting import drawn_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "checked_path", "line_chart", "new_figure", "panel_chart", "save"]

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#000000")
"""Told apart by colour-blind eyes too (Okabe & Ito), the yellows darkened for a white page."""

LINES = ("-", "--", ":", "-.")
"""With more curves than colours, the colours come again in the next of these."""

STYLE: Mapping[str, Any] = {
    "axes.prop_cycle": f"cycler(linestyle={LINES}) * cycler(color={COLORS})",
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.constrained_layout.use": True,
    "axes.titlesize": 11,
    "figure.titlesize": 12,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}

UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""File types, with what must not be written into them for equal pictures to be equal files."""

PANEL_SIZE = (6.4, 4.2)  # inches

MOST_MARKED = 20
"""Curves of at most so many points have a mark at each: they are measurements, not functions."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart.

    Attributes:
        curves: Name of each curve, as in the legend, and its x and y values.
        xlabel: What x is, with its unit.
        ylabel: What y is, with its unit.
        title: Above the chart.
        logx: Whether x has a logarithmic scale.
        bands: Lower and upper y values around curves of these names, such as a spread over seeds.
    """

    curves: Curves
    xlabel: str
    ylabel: str
    title: str = ""
    logx: bool = False
    bands: Curves = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (x, y) in self.curves.items():
            if len(x) != len(y):
                raise ValueError(
                    f"x and y of the curve {name!r} must be equally many, got {len(x)} and {len(y)}"
                )
        for name, (low, high) in self.bands.items():
            if name not in self.curves:
                names = ", ".join(self.curves)
                raise ValueError(f"bands must have names of curves ({names}), got {name!r}")
            points = len(self.curves[name][0])
            if (len(low), len(high)) != (points, points):
                raise ValueError(
                    f"the band of {name!r} must have its curve's {points} points, "
                    f"got {len(low)} and {len(high)}"
                )


def line_chart(
    path: str | Path,
    curves: Curves,
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    logx: bool = False,
    bands: Curves | None = None,
) -> None:
    """Draw curves into one chart.

    Args:
        path: File to write; its ending, .png, .svg or .pdf, is its type.
        curves: Name of each curve, as in the legend, and its x and y values.
        xlabel: What x is, with its unit.
        ylabel: What y is, with its unit.
        title: Above the chart.
        logx: Whether x has a logarithmic scale.
        bands: Lower and upper y values around curves of these names, such as a spread over seeds.

    Raises:
        ValueError: If numbers of points disagree, a band has no curve, or the type is another.
        FileNotFoundError: If the file's directory is not there.
        ImportError: If matplotlib is not installed.
    """
    panel = Panel(
        curves=curves,
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        logx=logx,
        bands={} if bands is None else bands,
    )
    panel_chart(path, [panel])


def panel_chart(path: str | Path, panels: Sequence[Panel], *, title: str = "") -> None:
    """Draw several charts side by side.

    Args:
        path: As in `line_chart`.
        panels: The charts, from left to right, at least one.
        title: Above all of them.

    Raises:
        ValueError: If there is no panel, or the file's type is another.
        FileNotFoundError: If the file's directory is not there.
        ImportError: If matplotlib is not installed.
    """
    if not panels:
        raise ValueError("panels must hold at least one panel, got none")
    checked_path(path)
    figure = new_figure(len(panels))
    with drawn_in(STYLE):
        for position, panel in enumerate(panels, 1):
            _draw(figure.add_subplot(1, len(panels), position), panel)
        if title:
            figure.suptitle(title)
    save(figure, path)


def _draw(axes: Axes, panel: Panel) -> None:
    for name, (x, y) in panel.curves.items():
        marker = "o" if len(x) <= MOST_MARKED else ""
        (line,) = axes.plot(x, y, label=name, marker=marker)
        if name in panel.bands:
            axes.fill_between(x, *panel.bands[name], color=line.get_color(), alpha=0.18, lw=0)
    if panel.logx:
        axes.set_xscale("log")
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
    if panel.curves:
        # Under the chart, where no curve can be hidden, in as many columns as the names leave room.
        columns = max(1, 72 // (max(map(len, panel.curves)) + 8))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns)


def new_figure(num_panels: int = 1) -> Figure:
    """An empty matplotlib figure in the project's style, wide enough for so many panels.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    with drawn_in(STYLE):
        from matplotlib.figure import Figure

        width, height = PANEL_SIZE
        return Figure(figsize=(width if num_panels == 1 else 0.85 * width * num_panels, height))


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, whole or not at all.

    Args:
        figure: The figure.
        path: Where to; the ending, .png, .svg or .pdf, is the type.

    Raises:
        ValueError: If the type is another.
        FileNotFoundError: If the directory is not there.
    """
    path = checked_path(path)
    kind = path.suffix[1:].lower()
    with drawn_in(STYLE), replacing(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=UNDATED[kind])


def checked_path(path: str | Path) -> Path:
    """The path of a picture that can be written.

    Raises:
        ValueError: If its ending is none of .png, .svg and .pdf.
        FileNotFoundError: If its directory is not there.
        IsADirectoryError: If it is a directory.
    """
    path = Path(path)
    if path.suffix[1:].lower() not in UNDATED:
        allowed = ", ".join(f".{kind}" for kind in UNDATED)
        raise ValueError(f"a picture's file name must end in one of {allowed}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no directory {path.parent} to write {path.name} to")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a file to write a picture to")
    return path
