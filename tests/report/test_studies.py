"""Tests of `textvae.report.studies`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.files import read_json
from textvae.report.studies import Band, bands, check, markdown, panel, spread, summary, write


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 3.0], "2.00 ± 1.41"),  # √2: n − 1, not n
        ([26.3, 26.3, 26.3], "26.30 ± 0.00"),
        ([5], "5.0"),  # of one there is no deviation
        ([0.01, 0.03], "0.020 ± 0.014"),  # a small KL has more digits
        ([-0.01, -0.03], "-0.020 ± 0.014"),
        ([0.099], "0.099"),
        ([0.1], "0.10"),
        ([0.0], "0.000"),
        ([3.0, None, 5.0], "4.00 ± 1.41"),  # what is not known does not count
        ([None, 5.0], "5.00"),
        ([None, None], ""),
        ([], ""),
    ],
)
def test_a_spread(values: list[float | None], shown: str) -> None:
    assert spread(values) == shown
    assert spread(iter(values)) == shown


def test_a_summary_has_a_line_for_each_configuration() -> None:
    rows = [
        {"name": "linear", "kl": 2.0, "au": 3},
        {"name": "none", "kl": 0.0, "au": None},
        {"name": "linear", "kl": 4.0, "au": 4},
    ]
    assert summary(rows, {"KL": "kl", "units": "au"}) == [
        {"": "linear", "seeds": "2", "KL": "3.00 ± 1.41", "units": "3.5 ± 0.7"},
        {"": "none", "seeds": "1", "KL": "0.000", "units": ""},
    ]
    assert summary([], {"KL": "kl"}) == []


def test_a_table_in_markdown() -> None:
    lines = [{"": "linear", "KL": "3.00 ± 1.41"}, {"": "none", "KL": ""}]
    assert markdown(lines) == (
        "|  | KL |\n| --- | --- |\n| linear | 3.00 ± 1.41 |\n| none |  |"
    )  # fmt: skip
    assert markdown([]) == ""


def test_a_band_is_of_the_points_that_all_curves_have() -> None:
    curves = [[(3, 1.0), (1, 5.0), (2, 0.0)], [(1, 7.0), (3, 2.0)], [(9, 0.0), (3, 6.0), (1, 0.0)]]
    assert bands(curves) == Band([1, 3], [4.0, 3.0], [0.0, 1.0], [7.0, 6.0])
    assert bands([[(1, 2.0)], [(2, 2.0)]]) == Band([], [], [], [])
    assert bands([[]]) == Band([], [], [], [])


numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_band_holds_its_curves(seeds: list[list[float]]) -> None:
    band = bands([list(enumerate(ys)) for ys in seeds])
    assert band.xs == [0, 1, 2, 3]
    for i in range(4):
        ys = [seed[i] for seed in seeds]
        assert (band.low[i], band.high[i]) == (min(ys), max(ys))
        assert math.isclose(band.mean[i], sum(ys) / len(ys), abs_tol=1e-6)


def test_a_panel_of_bands() -> None:
    several = {"a": Band([1.0, 2.0], [5, 6], [4, 5], [6, 7]), "b": Band([3.0], [1], [0], [2])}
    made = panel(several, xlabel="epoch", ylabel="KL, nats", logx=True)
    assert made.curves == {"a": ([1.0, 2.0], [5, 6]), "b": ([3.0], [1])}
    assert made.bands == {"a": ([4, 5], [6, 7]), "b": ([0], [2])}
    assert (made.xlabel, made.ylabel, made.logx) == ("epoch", "KL, nats", True)
    assert not panel(several, xlabel="", ylabel="").logx


def test_the_files_of_a_study(tmp_path: Path) -> None:
    path = tmp_path / "results" / "corpus" / "beta"
    check(path)
    assert list(path.parent.iterdir()) == []
    content = {"runs": [{"kl": 1.5}]}
    said = write(path, "β?\n", content, lambda picture: picture.write_text("drawn"))
    assert said == f"β?\n\nwritten: {path}.md, .json, .png"
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "beta.json",
        "beta.md",
        "beta.png",
    ]
    assert path.with_suffix(".md").read_text(encoding="utf-8") == "β?\n"
    assert read_json(path.with_suffix(".json")) == content
    assert path.with_suffix(".png").read_text() == "drawn"


def test_a_place_where_results_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        check(tmp_path / "file" / "beta")
    (tmp_path / "beta.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"beta\.png is a directory"):
        check(tmp_path / "beta")
