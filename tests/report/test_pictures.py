import base64
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

from textvae.report import pictures
from textvae.report.pictures import COLORS, Panel, bars, cloud, curves, panel_chart, picture

CURVES = {"first": ([0, 1, 2], [0.0, 0.5, 1.0]), "second": ([1, 10, 100], [3.0, 2.0, 1.0])}
BEGINNINGS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def panel(**options: Any) -> Panel:
    return Panel(**{"curves": CURVES, "xlabel": "step", "ylabel": "β", "title": "a", **options})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The figures that were to be saved, in place of files."""
    figures: list[Any] = []

    def savefig(self: Any, file: Path, **_: Any) -> None:
        figures.append(self)
        file.touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
    return figures


@pytest.mark.parametrize("ending", [*BEGINNINGS, ".PNG"])
def test_equal_charts_are_equal_files(tmp_path, monkeypatch, ending):
    files = [tmp_path / f"{name}{ending}" for name in ("one", "two")]
    panel_chart(files[0], [panel()])
    on_page = picture("KL", "", bars, [0.1, 0.3])
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 33)  # somebody's own settings
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")  # another day
    panel_chart(str(files[1]), [panel()])
    one, two = (file.read_bytes() for file in files)
    assert one.startswith(BEGINNINGS[ending.lower()])
    assert one == two
    assert b"Date" not in one
    assert picture("KL", "", bars, [0.1, 0.3]) == on_page
    assert matplotlib.rcParams["font.size"] == 33  # theirs stay theirs
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files}


def test_what_is_in_a_chart(drawn):
    bands = {"second": ([2.0, 1.5, 0.5], [4.0, 2.5, 1.5])}
    panels = [panel(logx=True, bands=bands), panel(title="b"), panel(title="c")]
    panel_chart("a.png", panels, title="three")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert figure.get_suptitle() == "three"
    lefts = [axes.get_position().x0 for axes in figure.axes]
    assert lefts == sorted(set(lefts))
    axes = figure.axes[0]
    for line, (name, (x, y)) in zip(axes.lines, CURVES.items(), strict=True):
        assert (line.get_label(), list(line.get_xdata()), list(line.get_ydata())) == (name, x, y)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "β")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(CURVES)
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    assert {(1, 2.0), (10, 1.5), (100, 0.5), (1, 4.0), (10, 2.5), (100, 1.5)} == corners
    assert matplotlib.colors.same_color(band.get_facecolor()[0][:3], axes.lines[1].get_color())


def test_curves_can_be_told_apart_and_measurements_are_marked(drawn):
    many = {str(n): (list(range(n)), [0.0] * n) for n in (1, 20, 21, *range(30, 47))}
    panel_chart("a.png", [panel(curves=many)])
    lines = drawn[0].axes[0].lines
    looks = [(line.get_linestyle(), line.get_color()) for line in lines]
    assert looks == [(line, color) for line in ("-", "--", ":", "-.") for color in COLORS][:20]
    assert [line.get_marker() for line in lines[:4]] == ["o", "o", "", ""]


def svg(draw: Callable[..., None], *given: Any, **options: Any) -> str:
    """What is drawn on a page."""
    drawn = picture("title", "caption", draw, *given, **options)
    head, _, content = drawn["source"].partition(",")
    assert (head, drawn["title"]) == ("data:image/svg+xml;base64", "title")
    return base64.b64decode(content).decode()


def test_pyplot_is_not_loaded():
    # It would choose a window system, and keep every figure.
    before = set(sys.modules)
    svg(bars, [0.1])
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def labels(drawn: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawn)


def heights(drawn: str) -> list[float]:
    """Height of each bar."""
    shapes = re.findall(rf'<path d="([^"]*)" clip-path[^>]*fill: {COLORS[0]}', drawn)
    ys = [[float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", shape)] for shape in shapes]
    return [max(each) - min(each) for each in ys]


def test_bars_are_as_high_as_their_values_the_highest_first():
    drawn = svg(bars, [1.0, 4.0, 2.0])
    full, *others = heights(drawn)
    assert [height / full for height in others] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert labels(drawn)[:3] == ["1", "2", "0"]
    assert heights(svg(bars, [4.0], top=8.0))[0] / full == pytest.approx(0.5, abs=1e-3)


def test_the_circles_hold_their_share_of_the_prior(monkeypatch):
    circles: list[Any] = []
    monkeypatch.setattr("matplotlib.axes.Axes.add_patch", lambda _, circle: circles.append(circle))
    codes = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    drawn = svg(cloud, codes[:50], (1, 0))
    for circle, share in zip(circles, (0.5, 0.95), strict=True):
        inside = codes.norm(dim=1) <= circle.radius
        assert float(inside.double().mean()) == pytest.approx(share, abs=0.01)
    assert {"50%", "95%", "dimension 0", "dimension 1"} <= set(labels(drawn))
    assert drawn.count("<use") >= 50


def scale(**options: Any) -> list[float]:
    """Numbers along the y axis of curves on a page."""
    axis = svg(curves, panel(**options)).partition('id="matplotlib.axis_2"')[2]
    return [float(text.replace("\u2212", "-")) for text in labels(axis) if text[-1].isdigit()]


def test_the_scale_begins_at_zero_or_fits_the_curve():
    curve, high = {"_": ([1, 2], [5.0, 6.0])}, ([1, 2], [80.0, 90.0])
    assert scale(curves=curve, from_zero=True)[0] == 0
    fitted = scale(curves=curve, faint=high)
    assert min(fitted) >= 4.5  # not from zero
    assert max(fitted) <= 6.5  # and the faint one has no say
    assert max(scale(curves=curve, faint=high, from_zero=True)) <= 7
    assert max(scale(curves={}, faint=high)) >= 80  # but where it is alone
    assert min(scale(curves={"_": ([1, 2], [-1.0, 2.0])}, from_zero=True)) <= -0.5
    counts = scale(curves={"_": ([1, 2], [0, 2])}, whole=True)
    assert counts == [round(count) for count in counts]
    units = {"_": ([1e-4, 1e-2, 1.0], [3, 2, 0])}
    assert scale(curves=units, logx=True, mark=0.01, from_zero=True, whole=True) == [0, 1, 2, 3]


ODD = [([], []), ([3], [1.0]), ([1, 2], [math.nan, math.inf]), ([1, 2], [0.0, 0.0])]
FAINT = {"from_zero": True, "faint": ([1], [math.nan])}


@pytest.mark.parametrize("curve", ODD)
@pytest.mark.parametrize("look", [FAINT, {"training": True}])
def test_no_curve_is_too_odd_to_draw(curve, look):
    assert "nan" not in svg(curves, panel(curves={"_": curve}, **look)).lower()


@pytest.mark.parametrize(
    ("draw", "given"),
    [
        (bars, [[0.0, 0.0]]),
        (bars, [[math.nan, math.inf, 1.0]]),
        (bars, [[0.1] * 300]),
        (cloud, [torch.full((2, 2), 1e4), (0, 1)]),
        (cloud, [torch.full((2, 2), math.nan), (0, 1)]),
    ],
)
def test_nothing_else_is_too_odd_to_draw(draw, given):
    assert "nan" not in svg(draw, *given).lower()


def test_a_panel_of_seeds_has_the_points_that_all_of_them_have():
    seeds = [[(3, 1.0), (1, 5.0), (2, 0.0)], [(1, 7.0), (3, 2.0)], [(9, 0.0), (3, 6.0), (1, 0.0)]]
    several = {"a": seeds, "b": [[(1, 2.0)], [(2, 2.0)]], "none": [[]]}
    made = pictures.seeds_panel(several, xlabel="epoch", logx=True)
    empty = ([], [])
    assert made.curves == {"a": ([1, 3], [4.0, 3.0]), "b": empty, "none": empty}
    assert made.bands == {"a": ([0.0, 1.0], [7.0, 6.0]), "b": empty, "none": empty}
    assert (made.xlabel, made.ylabel, made.logx) == ("epoch", "", True)


def test_the_highest_and_the_lowest_of_many_curves_are_named():
    ends = {"_0": 1.0, "_1": 5.0, "_2": 4.9, "_3": 2.0, "_4": 0.5, "_5": 3.0, "_6": math.nan}
    many = {name: ([1, 2], [1.0, end]) for name, end in ends.items()}
    drawn = svg(curves, panel(curves=many, named_ends=True, from_zero=True))
    names = [text for text in labels(drawn) if text in "0123456"]
    assert names[-4:] == ["1", "2", "5", "4"]
    assert svg(curves, panel(curves={"_0": ([1], [2.0])}, named_ends=True))
