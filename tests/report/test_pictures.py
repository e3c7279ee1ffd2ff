"""Tests of `textvae.report.pictures`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from textvae.report import pictures
from textvae.report.pictures import Panel, checked_path, line_chart, new_figure, panel_chart, save

CURVES = {"first": ([0, 1, 2], [0.0, 0.5, 1.0]), "second": ([1, 10, 100], [3.0, 2.0, 1.0])}
LABELS: dict[str, Any] = {"xlabel": "step", "ylabel": "β", "title": "a title"}
BEGINNINGS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were to be saved, in place of files."""
    figures: list[Any] = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("ending", BEGINNINGS)
def test_equal_charts_are_equal_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    files = [tmp_path / f"{name}{ending}" for name in ("one", "two")]
    line_chart(files[0], CURVES, **LABELS)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 33)  # somebody's own settings
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")  # another day
    line_chart(str(files[1]), CURVES, **LABELS)
    one, two = (file.read_bytes() for file in files)
    assert one.startswith(BEGINNINGS[ending])
    assert one == two
    assert b"Date" not in one
    assert matplotlib.rcParams["font.size"] == 33  # theirs stay theirs
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files}


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    line_chart(tmp_path / "a.PNG", CURVES, **LABELS)
    assert (tmp_path / "a.PNG").read_bytes().startswith(BEGINNINGS[".png"])


def test_what_is_in_a_chart(drawn: list[Any], tmp_path: Path) -> None:
    bands = {"second": ([2.0, 1.5, 0.5], [4.0, 2.5, 1.5])}
    line_chart(tmp_path / "a.png", CURVES, **LABELS, logx=True, bands=bands)
    (axes,) = drawn[0].axes
    for line, (name, (x, y)) in zip(axes.lines, CURVES.items(), strict=True):
        assert (line.get_label(), list(line.get_xdata()), list(line.get_ydata())) == (name, x, y)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", "β", "a title")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(CURVES)
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    assert {(1, 2.0), (10, 1.5), (100, 0.5), (1, 4.0), (10, 2.5), (100, 1.5)} == corners
    assert matplotlib.colors.same_color(band.get_facecolor()[0][:3], axes.lines[1].get_color())


def test_panels_stand_side_by_side(drawn: list[Any], tmp_path: Path) -> None:
    panels = [Panel(curves=CURVES, xlabel=f"x of {name}", ylabel="y", title=name) for name in "abc"]
    panel_chart(tmp_path / "a.png", panels, title="three")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["x of a", "x of b", "x of c"]
    assert figure.get_suptitle() == "three"
    lefts = [axes.get_position().x0 for axes in figure.axes]
    assert lefts == sorted(set(lefts))


def test_curves_can_be_told_apart(drawn: list[Any], tmp_path: Path) -> None:
    many = {str(i): ([0, 1], [i, i]) for i in range(20)}
    line_chart(tmp_path / "a.png", many, **LABELS)
    lines = drawn[0].axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20
    assert {line.get_linestyle() for line in lines[:7]} == {"-"}


def test_measurements_are_marked_and_functions_are_not(drawn: list[Any], tmp_path: Path) -> None:
    curves = {str(n): (list(range(n)), [0.0] * n) for n in (1, 20, 21)}
    line_chart(tmp_path / "a.png", curves, **LABELS)
    assert [line.get_marker() for line in drawn[0].axes[0].lines] == ["o", "o", ""]


def test_a_chart_without_curves_is_no_fault(tmp_path: Path) -> None:
    line_chart(tmp_path / "a.png", {}, **LABELS)
    assert (tmp_path / "a.png").exists()


def test_a_crash_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_text("the old one")
    figure = new_figure()

    def crash(file: Path, **_: Any) -> None:
        Path(file).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", crash)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_text() == "the old one"


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a.xyz", "a", ".png", "a.png.txt"):
        with pytest.raises(ValueError, match=r"end in one of \.png, \.svg, \.pdf, got '.*" + name):
            checked_path(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no directory .*nowhere to write a\.png to"):
        line_chart(tmp_path / "nowhere" / "a.png", CURVES, **LABELS)
    with pytest.raises(FileNotFoundError, match="no directory"):
        save(new_figure(), tmp_path / "nowhere" / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"b\.png is a directory, not a file"):
        checked_path(tmp_path / "b.png")
    assert checked_path(str(tmp_path / "c.svg")) == tmp_path / "c.svg"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"curves": {"a": ([1, 2], [1.0])}},
            "x and y of the curve 'a' must be equally many, got 2 and 1",
        ),
        (
            {"bands": {"third": ([0.0] * 3, [1.0] * 3)}},
            r"bands must have names of curves \(first, second\), got 'third'",
        ),
        (
            {"bands": {"first": ([0.0] * 3, [1.0] * 2)}},
            "the band of 'first' must have its curve's 3 points, got 3 and 2",
        ),
    ],
)
def test_what_a_panel_refuses(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        line_chart(tmp_path / "a.png", **{"curves": CURVES, **LABELS, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_no_panel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="panels must hold at least one panel, got none"):
        panel_chart(tmp_path / "a.png", [])


@pytest.mark.parametrize(
    "draw",
    [new_figure, lambda: line_chart("a.png", CURVES, **LABELS)],
    ids=["new_figure", "line_chart"],
)
def test_matplotlib_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, draw: Callable[[], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'not installed: pip install "textvae\[plot\]"'):
        draw()


def test_pyplot_is_not_loaded(tmp_path: Path) -> None:
    # It would choose a window system, and keep every figure.
    before = set(sys.modules)
    line_chart(tmp_path / "a.svg", CURVES, **LABELS)
    assert "matplotlib.pyplot" not in set(sys.modules) - before
