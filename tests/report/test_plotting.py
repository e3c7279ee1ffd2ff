"""Tests of `textvae.report.plotting`, and of the styles that are drawn in by it."""

from __future__ import annotations

import sys

import matplotlib
import pytest

from textvae.report import figures, pictures
from textvae.report.plotting import COMMON, drawn_in, require_matplotlib


@pytest.mark.parametrize("style", [pictures.STYLE, figures._STYLE], ids=["file", "page"])
def test_a_style_is_what_is_common_and_its_own(style: dict[str, object]) -> None:
    before = dict(matplotlib.rcParams)
    assert COMMON.keys().isdisjoint(style)
    with drawn_in(style):
        for name, value in {**COMMON, **style}.items():
            if name != "axes.prop_cycle":  # given as text
                assert matplotlib.rcParams[name] == value
    assert dict(matplotlib.rcParams) == before


def test_the_colours_of_lines_come_again_in_another_dash() -> None:
    with drawn_in(pictures.STYLE):
        cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    assert [(one["linestyle"], one["color"]) for one in cycle] == [
        (line, color) for line in pictures.LINES for color in pictures.COLORS
    ]


def test_nobodys_own_settings_are_seen_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = figures.bars("KL", [0.1, 0.3])
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9)
    monkeypatch.setitem(matplotlib.rcParams, "xtick.direction", "in")
    monkeypatch.setitem(matplotlib.rcParams, "axes.labelsize", 33)
    assert figures.bars("KL", [0.1, 0.3]) == usual
    assert matplotlib.rcParams["axes.labelsize"] == 33  # theirs stay theirs


def test_matplotlib_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = r'not installed: pip install "textvae\[plot\]"'
    with pytest.raises(ImportError, match=said):
        require_matplotlib()
    with pytest.raises(ImportError, match=said), drawn_in(pictures.STYLE):
        pass
    with pytest.raises(ImportError, match=said):
        figures.bars("KL", [0.1])
