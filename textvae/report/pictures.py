"""Pictures in one style: charts written to files, and the pictures of a page.

Transparent on a page, and of colours that can be read on light and dark paper. The same data make
the same bytes with the same matplotlib, whatever the settings of the user or the program around.
matplotlib is imported when the first picture is made.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from textvae.files import output_file, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

Curve = tuple[Sequence[float], Sequence[float]]  # x and y
Curves = Mapping[str, Curve]
Seeds = Sequence[Iterable[tuple[float, float]]]  # a curve each, of points

# Told apart by colour-blind eyes too (after Okabe & Ito), none too light or too dark.
COLORS = ("#2079bb", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a4d9", "#8c8c8c")
MARKERS = "os^D"
INK = "#767d86"  # both as in the style
STYLE = Path(__file__).with_name("textvae.mplstyle")
MOST_MARKED = 20  # points of a curve that has a mark at each: measurements, not a function
# File types, with what must not be written into them for equal pictures to be equal files.
UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart of curves."""

    curves: Curves  # by name; those with a leading underscore are not in the legend
    xlabel: str
    ylabel: str = ""
    title: str = ""
    logx: bool = False
    bands: Curves = field(default_factory=dict)  # low and high y around curves
    faint: Curve = ((), ())  # only the ground for the others, which alone decide the scale
    from_zero: bool = False
    whole: bool = False  # for values that are counts
    scattered: bool = False  # points; a curve that begins with an underscore is a line
    training: bool = False  # for x that are steps of a training
    mark: float | None = None  # an x to be marked
    named_ends: bool = False  # the three curves that end highest and the lowest have their names


def seeds_panel(several: Mapping[str, Seeds], **look: Any) -> Panel:
    """Means of seeds' curves over the x that all have, and their range as bands, in a `Panel`."""
    curves, bands = {}, {}
    for name, seeds in several.items():
        by_x = [dict(points) for points in seeds]
        xs = sorted(set(by_x[0]).intersection(*by_x[1:]))
        ys = [[curve[x] for curve in by_x] for x in xs]
        curves[name] = (xs, list(map(fmean, ys)))
        bands[name] = (list(map(min, ys)), list(map(max, ys)))
    return Panel(curves=curves, bands=bands, **look)


def checked_path(path: str | Path) -> Path:
    """The path of a picture's file that can be written."""
    return output_file(path, *(f".{kind}" for kind in UNDATED))


@contextmanager
def _figure(file: Any, kind: str, width: float, height: float, **options: Any) -> Iterator[Figure]:
    """A figure of so many inches to be drawn on in the style, and then written to a file."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rc_file(STYLE)
        figure = Figure(figsize=(width, height))
        yield figure
        figure.savefig(file, format=kind, metadata=UNDATED[kind], **options)


def panel_chart(path: str | Path, panels: Sequence[Panel], *, title: str = "") -> None:
    """Draw charts side by side into a .png, .svg or .pdf file, whole or not at all."""
    path = checked_path(path)
    kind, width = path.suffix[1:].lower(), 6.4 if len(panels) == 1 else 5.4 * len(panels)
    with replacing(path) as temporary, _figure(temporary, kind, width, 4.2) as figure:
        for position, panel in enumerate(panels, 1):
            curves(figure.add_subplot(1, len(panels), position), panel)
        if title:
            figure.suptitle(title)


def picture(
    title: str,
    caption: str,
    draw: Callable[..., None],
    *given: Any,
    height: float = 2.7,
    **options: Any,
) -> dict[str, str]:
    """A picture of a page, as the address of an image (a data URI), and the words around it.

    It shows what `draw` (`curves`, `bars` or `cloud`) draws of all else, about as wide as a phone.
    """
    file = io.BytesIO()
    with _figure(file, "svg", 4.2, height, transparent=True) as figure:
        draw(figure.add_subplot(), *given, **options)
    source = f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"title": title, "caption": caption, "source": source}


def curves(axes: Axes, panel: Panel) -> None:
    """Draw the curves of a panel."""
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
    if panel.logx:
        axes.set_xscale("log")
    if panel.mark is not None:
        axes.axvline(panel.mark, color=INK, lw=0.8, ls=(0, (2, 2)))
    for number, (name, (x, y)) in enumerate(panel.curves.items()):
        look: dict[str, Any] = {"marker": "o" if len(x) <= MOST_MARKED else ""}
        if panel.scattered:
            marker = MARKERS[number // len(COLORS) % len(MARKERS)]  # where colours come again
            look = {"ls": "", "marker": marker}
            if name.startswith("_"):
                look = {"color": INK, "lw": 0.8}
        (line,) = axes.plot(x, y, label=name, **look)
        if name in panel.bands:
            axes.fill_between(x, *panel.bands[name], color=line.get_color(), alpha=0.18, lw=0)
    if panel.faint[0]:
        axes.autoscale_view()  # now, or the faint curve would be seen later
        is_seen = not math.isfinite(axes.dataLim.y0)
        axes.plot(*panel.faint, color=COLORS[0], lw=0.8, alpha=0.45, scaley=is_seen)
    if panel.from_zero and axes.dataLim.y0 >= 0:
        axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    if panel.training:
        axes.set_xlim(left=0)
    if panel.named_ends:
        _name_ends(axes)
    for axis, whole in ((axes.xaxis, panel.training), (axes.yaxis, panel.whole)):
        if whole:
            axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if names := axes.get_legend_handles_labels()[1]:
        # Under the chart, where no curve can be hidden, in as many columns as the names leave room.
        columns = max(1, 72 // (max(map(len, names)) + 8))
        below = -0.588 / axes.figure.figure.get_figheight()  # the whole one
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, below), ncols=columns)


def _name_ends(axes: Any) -> None:
    lines = [line for line in axes.lines if math.isfinite(line.get_ydata()[-1])]
    lines.sort(key=lambda line: -line.get_ydata()[-1])
    gap, below = 0.08 * axes.get_ylim()[1], math.inf
    for line in [*lines[:3], *lines[3:][-1:]]:
        x, y = line.get_xydata()[-1]
        below = max(0.0, min(y, below - gap))  # names must not be upon each other
        look: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        name = str(line.get_label()).lstrip("_")
        axes.annotate(name, (x, below), color=line.get_color(), fontsize=8, **look)


def bars(
    axes: Axes, kl_per_dim: Sequence[float], color: str = COLORS[0], top: float | None = None
) -> None:
    """Draw the KL of each dimension, nats, the highest first; `top` ends the scale."""
    values = [value if math.isfinite(value) else 0.0 for value in kl_per_dim]
    order = sorted(range(len(values)), key=lambda d: -values[d])
    axes.bar(range(len(order)), [values[d] for d in order], color=color, width=0.8)
    every = math.ceil(len(order) / 16)  # the names of more would run into each other
    axes.set_xticks(range(0, len(order), every), [str(d) for d in order[::every]])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, max(max(values) if top is None else top, 0.01) * 1.05)
    axes.set(xlabel="dimension", ylabel="nats", xlim=(-0.6, len(order) - 0.4))


def cloud(axes: Axes, codes: Tensor, dimensions: Sequence[int]) -> None:
    """Draw two dimensions of codes (S, Z), and circles that hold half and 95 % of the prior."""
    from matplotlib.patches import Circle

    shown = codes[:, list(dimensions)]
    x, y = shown[shown.isfinite().all(1)].T.tolist()
    axes.plot(x, y, "o", ms=2.6, mew=0, alpha=0.5)
    for share in (0.5, 0.95):
        # |z|² of two dimensions is exponential: its quantiles have a closed form.
        radius = math.sqrt(-2 * math.log(1 - share))
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=INK, ls=(0, (4, 3))))
        axes.text(0, radius, f"{share:.0%}", ha="center", va="bottom")
    reach = max([3.2, *map(abs, x), *map(abs, y)])
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    first, second = dimensions
    axes.set(xlabel=f"dimension {first}", ylabel=f"dimension {second}")
    axes.grid(visible=False)
