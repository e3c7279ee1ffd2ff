"""The pictures of a page, as inline SVG whose colours and type are the page's own.

Offers `Picture` and what draws one each: `curves` over steps, `bars` (KL per dimension),
`active_units`, `cloud` (aggregate posterior against prior).

Drawn by matplotlib; the same data give the same text. Ink is `currentColor`, all else one of the
page's CSS variables (`--accent`, `--faint`, `--series-1` …), so that a dark page has dark pictures.

Shapes: S codes, Z latent dimensions.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from textvae.report.plotting import drawn_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "MAX_SERIES",
    "Line",
    "Picture",
    "active_units",
    "bars",
    "cloud",
    "curves",
]

MAX_SERIES = 8
"""Colours that the page has for lines; more begin again with the first."""

SIZE = (5.0, 2.9)
"""Inches of 72 units: about as wide as a phone, where type of 10 units can be read."""

# Never drawn: stand-ins that become the page's colours.
INK, FAINT, ACCENT, PAPER = "#010203", "#010204", "#010205", "#010206"
SERIES = [f"#0102{16 + i:02x}" for i in range(MAX_SERIES)]
_COLOURS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    ACCENT: "var(--accent)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, start=1)},
}

_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "path.simplify": True,
}

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Picture(NamedTuple):
    """A picture and the words under it.

    Attributes:
        title: What it shows, in a few words.
        svg: An `<svg>` element.
        caption: How to read it.
    """

    title: str
    svg: str
    caption: str = ""


class Line(NamedTuple):
    """Values over steps.

    Attributes:
        points: Step and value, in order.
        series: Number of its colour, from 0; None for the accent.
        is_faint: Whether it is only the ground for another.
    """

    points: Sequence[tuple[int, float]]
    series: int | None = None
    is_faint: bool = False


def curves(
    title: str,
    lines: Sequence[Line],
    caption: str = "",
    *,
    from_zero: bool = True,
    counts: bool = False,
) -> Picture:
    """Lines over training steps.

    Args:
        title: Title of the picture.
        lines: What to draw; what is not finite is left out.
        caption: Words under it.
        from_zero: Whether the scale begins at zero (if nothing is below), or is fitted to the
            lines that are not faint.
        counts: Whether values are whole numbers.
    """

    def draw(axes: Axes) -> None:
        for line in lines:
            finite = [(step, value) for step, value in line.points if math.isfinite(value)]
            if not finite:
                continue
            steps, values = zip(*finite, strict=True)
            colour = ACCENT if line.series is None else SERIES[line.series % MAX_SERIES]
            width, alpha = (0.8, 0.35) if line.is_faint else (1.6, 1.0)
            marker = "o" if len(values) == 1 else None  # a line of one point is not seen
            axes.plot(steps, values, color=colour, lw=width, alpha=alpha, marker=marker, ms=3)
        axes.set_ylim(*_range(lines, from_zero))
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.grid(axis="y")
        _whole_numbers(axes.xaxis)
        if counts:
            _whole_numbers(axes.yaxis)

    return Picture(title, _svg(title, draw), caption)


def bars(
    title: str,
    values: Sequence[float],
    caption: str = "",
    *,
    series: int | None = None,
    top: float | None = None,
) -> Picture:
    """KL of each dimension as bars, the busiest first.

    Args:
        title: Title of the picture.
        values: KL of each of Z dimensions, nats; what is not finite has no bar.
        caption: Words under it.
        series: Number of the colour; None for the accent.
        top: End of the scale, so that pictures of several runs can be compared.
    """
    values = [value if math.isfinite(value) else 0.0 for value in values]
    order = sorted(range(len(values)), key=lambda d: -values[d])

    def draw(axes: Axes) -> None:
        colour = ACCENT if series is None else SERIES[series % MAX_SERIES]
        axes.bar(range(len(order)), [values[d] for d in order], color=colour, width=0.8)
        # The names of more would run into each other.
        every = max(1, math.ceil(len(order) / 16))
        axes.set_xticks(range(0, len(order), every), [str(d) for d in order[::every]])
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, max(top if top is not None else max(values, default=0.0), 0.01) * 1.05)
        axes.set_xlim(-0.6, max(len(order), 1) - 0.4)
        axes.set_xlabel("dimension")
        axes.set_ylabel("nats")
        axes.grid(axis="y")

    return Picture(title, _svg(title, draw), caption)


def active_units(title: str, curve: Mapping[float, int], width: int, caption: str = "") -> Picture:
    """Active units over the threshold on Var(mu), with the usual one marked.

    Args:
        title: Title of the picture.
        curve: Count by threshold.
        width: Latent dimensions Z.
        caption: Words under it.
    """

    def draw(axes: Axes) -> None:
        thresholds = sorted(curve)
        axes.set_xscale("log")
        axes.set_xlim(thresholds[0] / 1.6, thresholds[-1] * 1.6)
        axes.axvline(0.01, color=INK, lw=0.8, ls=(0, (2, 2)))
        axes.plot(thresholds, [curve[t] for t in thresholds], "o-", color=ACCENT, lw=1.6, ms=4)
        axes.xaxis.set_major_formatter(lambda value, _: _power_of_ten(value))
        axes.minorticks_off()
        axes.set_ylim(0, max(width, 1) * 1.05)
        axes.set_xlabel("threshold on the variance of the posterior mean")
        axes.set_ylabel(f"of {width} dimensions")
        axes.grid(axis="y")
        _whole_numbers(axes.yaxis)

    return Picture(title, _svg(title, draw), caption)


def cloud(title: str, codes: Tensor, dimensions: Sequence[int], caption: str = "") -> Picture:
    """Codes in two dimensions, over the circles that hold half and 95 % of the prior.

    Args:
        title: Title of the picture.
        codes: One code drawn from each posterior, (S, Z).
        dimensions: Which two dimensions to show.
        caption: Words under it.
    """
    first, second = dimensions

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Circle

        shown = codes[:, [first, second]]
        x, y = shown[shown.isfinite().all(1)].T.tolist()
        axes.plot(x, y, "o", color=ACCENT, ms=2.6, mew=0, alpha=0.5)
        for share in (0.5, 0.95):
            # |z|² of two dimensions is exponential: its quantiles have a closed form.
            radius = math.sqrt(-2 * math.log(1 - share))
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=INK, lw=1, ls=(0, (4, 3))))
            box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
            axes.text(0, radius, f"{share:.0%}", ha="center", va="center", bbox=box)
        reach = max([3.2, *(abs(value) for value in (*x, *y))])
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_xlabel(f"dimension {first}")
        axes.set_ylabel(f"dimension {second}")

    return Picture(title, _svg(title, draw, (5.0, 4.4)), caption)


def _range(lines: Sequence[Line], from_zero: bool) -> tuple[float | None, float | None]:
    chosen = [line for line in lines if from_zero or not line.is_faint] or lines
    values = [v for line in chosen for _, v in line.points if math.isfinite(v)]
    if not values:
        return None, None
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return (0.0 if from_zero and low >= 0 else low - margin), high + margin


def _svg(title: str, draw: Callable[[Any], None], size: tuple[float, float] = SIZE) -> str:
    file = io.StringIO()
    with drawn_in(_STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _at_home(file.getvalue(), title)


def _at_home(svg: str, title: str) -> str:
    """An SVG file as an element of a page: its colours, its type, names no other element has."""
    svg = svg[svg.index("<svg") :]
    # Its style sheet would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    used = set(re.findall(r"#(\w+)[\")]", svg))
    prefix = re.sub(r"\W+", "-", title.lower())

    def named(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r'\sid="([^"]*)"', named, svg)
    svg = re.sub(r"(\"|\()#(\w+)([\")])", rf"\1#{prefix}-\2\3", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None, "matplotlib gives every figure a box"
    body = svg[svg.index(">") + 1 :]
    return f'<svg {box[0]} role="img" aria-label="{_escaped(title)}">{body}'.strip()


def _escaped(text: str) -> str:
    from html import escape

    return escape(text, quote=True)


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _power_of_ten(value: float) -> str:
    exponent = round(math.log10(value))
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPTS)
