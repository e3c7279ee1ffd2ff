"""Tests of `textvae schedules`, and that docs/schedules.md says what it does."""

import shlex

import pytest

from tests import docs
from tests.cli import calling
from tests.cli.calling import Said
from textvae.annealers import ANNEALERS
from textvae.report.schedules import FIGURES

PAGE = docs.text("docs/schedules.md")


def call(*arguments: str) -> Said:
    return calling.call("schedules", *arguments)


def test_all_annealers_are_shown_unless_some_are_named():
    code, out, err = call()
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert lines[2].split() == ["step", *ANNEALERS]
    steps = [int(line.split()[0]) for line in lines[3:17]]
    assert steps == [0, 7, 15, 23, 30, 38, 46, 53, 61, 69, 76, 84, 92, 100]
    code, out, _ = call("cosine", "vae-annealing", "--steps=5")
    assert code == 0
    assert out.split("\n")[2].split() == ["step", "cosine", "vae-annealing"]
    assert out.rstrip().endswith("steps 0 to 5, full height is β = 1")


def test_the_warm_up_takes_four_fifths():
    weights = [line.split()[1] for line in call("linear", "--steps=5").out.split("\n")[3:9]]
    assert weights == ["0.000", "0.250", "0.500", "0.750", "1.000", "1.000"]
    assert "0.000" not in call("linear", "--steps=5", "--warmup-steps=0").out  # 0 is a length too


def test_shared_options_reach_the_annealers():
    options = ["--steps=8", "--max-beta=2", "--warmup-steps=8", "--num-cycles=2"]
    _, out, _ = call("linear", "cyclical", "vae-annealing", *options, "--cycle-ratio=0.25")
    rows = [line.split() for line in out.split("\n")[3:12]]
    assert [row[1] for row in rows] == [f"{step / 4:.3f}" for step in range(9)]
    assert [row[2] for row in rows] == ["0.000", *["2.000"] * 3] * 2 + ["2.000"]
    assert [row[3] for row in rows] == [f"{step / 8:.3f}" for step in range(9)]  # the package's own


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_drawn(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    said = call("--figure=cyclical", "--plot", str(path))
    assert said == (0, "", f"textvae: {path} written\n")
    assert path.stat().st_size > 5000


def test_help_names_every_figure_and_annealer():
    code, out, _ = call("--help")
    assert code == 0
    for name in (*FIGURES, *ANNEALERS, "vae-annealing"):
        assert name in out
    assert "required" not in out  # no annealer need be named


def test_the_commands_in_the_docs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    lines = "".join(docs.blocks(PAGE, "sh")).splitlines()
    commands = [line for line in lines if line.startswith("t")]
    assert len(commands) >= 7
    for command in commands:
        program, name, *arguments = shlex.split(command, comments=True)
        assert (program, name) == ("textvae", "schedules")
        assert call(*arguments)[0] == 0, command
    drawn = {path.name for path in (tmp_path / "docs").iterdir()}
    assert "schedules.png" in drawn  # the picture that the page shows is made by one of them


def test_the_output_in_the_docs_is_real():
    (block,) = docs.blocks(PAGE, "text")
    command, _, shown = block.partition("\n")
    assert command.startswith("$ textvae schedules")
    assert call(*shlex.split(command)[3:])[1] == shown


def test_the_python_in_the_docs_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = docs.blocks(PAGE)
    exec(block, {})
    assert (tmp_path / "mine.svg").stat().st_size > 5000
