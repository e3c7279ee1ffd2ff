"""Pictures in one style: charts written to files, and the pictures of a page.

Transparent on a page, and of colours that can be read on light and dark paper. The same data make
the same bytes with the same matplotlib, whatever the settings of the user or the program around.
Needs the extra `textvae[plot]`, imported when the first picture is made.

Shapes: S codes, Z latent dimensions.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textvae.checks import InputError
from textvae.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]

COLORS = ("#2079bb", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a4d9", "#8c8c8c")
"""Told apart by colour-blind eyes too (after Okabe & Ito), none too light or too dark."""

INK = "#767d86"  # between white and black
LINES = ("-", "--", ":", "-.")
"""With more curves than colours, the colours come again in the next of these."""

STYLE: Mapping[str, Any] = {
    "axes.prop_cycle": f"cycler(linestyle={LINES}) * cycler(color={COLORS})",
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "figure.titlesize": 12,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "savefig.dpi": 120,
    "svg.fonttype": "none",
    "svg.hashsalt": "textvae",  # else names inside an SVG are random
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""File types, with what must not be written into them for equal pictures to be equal files."""

PANEL_SIZE = (6.4, 4.2)  # inches
PAGE_SIZE = (5.0, 2.9)  # inches: about as wide as a phone

MOST_MARKED = 20
"""Curves of at most so many points have a mark at each: they are measurements, not functions."""


def require_matplotlib() -> None:
    """Raise ImportError if there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            'pictures need matplotlib, which is not installed: pip install "textvae[plot]"'
        ) from None


@contextmanager
def drawn_in_style() -> Iterator[None]:
    """Draw in `STYLE` alone."""
    require_matplotlib()
    import matplotlib

    style: Any = STYLE
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


def new_figure(width: float = PANEL_SIZE[0], height: float = PANEL_SIZE[1]) -> Figure:
    """An empty matplotlib figure in the project's style, its size in inches."""
    with drawn_in_style():
        from matplotlib.figure import Figure

        return Figure(figsize=(width, height))


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, whole or not at all; the ending is its type."""
    path = checked_path(path)
    kind = path.suffix[1:].lower()
    with drawn_in_style(), replacing(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=UNDATED[kind])


def checked_path(path: str | Path) -> Path:
    """The path of a picture that can be written; InputError or OSError where it can't be."""
    path = Path(path)
    if path.suffix[1:].lower() not in UNDATED:
        allowed = ", ".join(f".{kind}" for kind in UNDATED)
        raise InputError(f"a picture's file name must end in one of {allowed}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no directory {path.parent} to write {path.name} to")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a file to write a picture to")
    return path


# Charts in files


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart of curves, by the names of its legend; `bands` are low and high y around some."""

    curves: Curves
    xlabel: str
    ylabel: str
    title: str = ""
    logx: bool = False
    bands: Curves = field(default_factory=dict)


def panel_chart(path: str | Path, panels: Sequence[Panel], *, title: str = "") -> None:
    """Draw one or more charts side by side into a .png, .svg or .pdf file."""
    checked_path(path)
    width, height = PANEL_SIZE
    figure = new_figure(width if len(panels) == 1 else 0.85 * width * len(panels), height)
    with drawn_in_style():
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


# Pictures of a page


class Picture(NamedTuple):
    """A picture as the address of an image (a data URI), and the words around it."""

    title: str
    source: str
    caption: str = ""


class Line(NamedTuple):
    """Values over steps; a faint one is only the ground for another."""

    points: Sequence[tuple[int, float]]
    color: str = COLORS[0]
    is_faint: bool = False


def curves(
    title: str,
    lines: Sequence[Line],
    caption: str = "",
    *,
    from_zero: bool = True,
    counts: bool = False,
) -> Picture:
    """Lines over training steps; values that are not finite are left out.

    Args:
        title: Title of the picture.
        lines: What to draw.
        caption: Words under the title.
        from_zero: Whether the scale begins at zero (if nothing is below), or is fitted to the
            lines that are not faint.
        counts: Whether values are whole numbers.
    """
    with drawn_in_style():
        axes = new_figure(*PAGE_SIZE).add_subplot()
        for line in lines:
            finite = [(step, value) for step, value in line.points if math.isfinite(value)]
            width, alpha = (0.8, 0.45) if line.is_faint else (1.6, 1.0)
            marker = "o" if len(finite) == 1 else ""  # a line of one point is not seen
            axes.plot(
                [step for step, _ in finite],
                [value for _, value in finite],
                **{"color": line.color, "lw": width, "alpha": alpha, "marker": marker},
            )
        axes.set_ylim(*_range(lines, from_zero))
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        _whole_numbers(axes.xaxis)
        if counts:
            _whole_numbers(axes.yaxis)
        return Picture(title, _source(axes), caption)


def bars(
    title: str,
    values: Sequence[float],
    caption: str = "",
    *,
    color: str = COLORS[0],
    top: float | None = None,
) -> Picture:
    """KL of each of Z dimensions, nats, as bars, the highest first; `top` ends the scale."""
    values = [value if math.isfinite(value) else 0.0 for value in values]
    order = sorted(range(len(values)), key=lambda d: -values[d])
    with drawn_in_style():
        axes = new_figure(*PAGE_SIZE).add_subplot()
        axes.bar(range(len(order)), [values[d] for d in order], color=color, width=0.8)
        every = math.ceil(len(order) / 16)  # the names of more would run into each other
        axes.set_xticks(range(0, len(order), every), [str(d) for d in order[::every]])
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, max(max(values) if top is None else top, 0.01) * 1.05)
        axes.set(xlabel="dimension", ylabel="nats", xlim=(-0.6, len(order) - 0.4))
        return Picture(title, _source(axes), caption)


def active_units(title: str, curve: Mapping[float, int], width: int, caption: str = "") -> Picture:
    """Active units of `width` dimensions by the threshold on Var(mu), the usual one marked."""
    thresholds = sorted(curve)
    with drawn_in_style():
        axes = new_figure(*PAGE_SIZE).add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(thresholds[0] / 1.6, thresholds[-1] * 1.6)
        axes.axvline(0.01, color=INK, lw=0.8, ls=(0, (2, 2)))
        axes.plot(thresholds, [curve[threshold] for threshold in thresholds], "o-", lw=1.6)
        axes.minorticks_off()
        axes.set_ylim(0, width * 1.05)
        axes.set_xlabel("threshold on the variance of the posterior mean")
        axes.set_ylabel(f"of {width} dimensions")
        _whole_numbers(axes.yaxis)
        return Picture(title, _source(axes), caption)


def cloud(title: str, codes: Tensor, dimensions: Sequence[int], caption: str = "") -> Picture:
    """Codes (S, Z) in two dimensions, over the circles that hold half and 95 % of the prior."""
    first, second = dimensions
    shown = codes[:, [first, second]]
    x, y = shown[shown.isfinite().all(1)].T.tolist()
    reach = max([3.2, *(abs(value) for value in (*x, *y))])
    with drawn_in_style():
        from matplotlib.patches import Circle

        axes = new_figure(PAGE_SIZE[0], 4.4).add_subplot()
        axes.plot(x, y, "o", ms=2.6, mew=0, alpha=0.5)
        for share in (0.5, 0.95):
            # |z|² of two dimensions is exponential: its quantiles have a closed form.
            radius = math.sqrt(-2 * math.log(1 - share))
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=INK, lw=1, ls=(0, (4, 3))))
            axes.text(0, radius, f"{share:.0%}", ha="center", va="bottom")
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.grid(visible=False)
        axes.set(xlabel=f"dimension {first}", ylabel=f"dimension {second}")
        return Picture(title, _source(axes), caption)


def _source(axes: Axes) -> str:
    file = io.BytesIO()
    axes.figure.savefig(file, format="svg", transparent=True, metadata=UNDATED["svg"])
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _range(lines: Sequence[Line], from_zero: bool) -> tuple[float | None, float | None]:
    chosen = [line for line in lines if from_zero or not line.is_faint] or lines
    values = [v for line in chosen for _, v in line.points if math.isfinite(v)]
    if not values:
        return None, None
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return (0.0 if from_zero and low >= 0 else low - margin), high + margin


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
