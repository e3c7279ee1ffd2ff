"""Tests of `scripts/train_ptb.py`, without Penn Treebank and on a small embedded corpus."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.running import Answer
from tests.sizes import TINY, flags
from textvae import cli
from textvae.recipes import SIZES
from textvae.run import RunDirectory

Run = Callable[..., Answer]

GIVEN = {**TINY, "max_steps": 2, "autoencoder_epochs": 0, "language_model_epochs": 0}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_grammar: None) -> None:
    """No `data/ptb/` under the current directory or beside the package."""
    monkeypatch.setattr("textvae.corpus.ptb.__file__", str(tmp_path / "a" / "b" / "ptb.py"))


@pytest.fixture
def train_ptb(run: Run) -> Run:
    return partial(run, "train_ptb")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the script asks to be trained; nothing is."""
    asked: list[dict[str, Any]] = []

    def train(corpus: Any, options: Any, directory: Path, *, command: str, **more: Any) -> None:
        assert command == "python scripts/train_ptb.py"
        name = corpus.name if corpus else None
        asked.append({"corpus": name, "options": options, "directory": directory, **more})

    monkeypatch.setattr(cli, "train_run", train)
    return asked


def test_without_penn_treebank_the_embedded_corpus_takes_its_place(train_ptb, tmp_path):
    answer = train_ptb(*flags(GIVEN))
    assert answer.code == 0
    first = answer.err.split("\n")[0]
    assert re.fullmatch(r"Penn Treebank not found: .*: training on the embedded .* instead", first)
    assert "EMBEDDED CORPUS (made by a grammar, no real text), test split: 10 sen" in answer.out
    assert "Penn Treebank" not in answer.out
    assert "the run is in runs/grammar-1; go on with" in answer.out
    config = RunDirectory.open(tmp_path / "runs" / "grammar-1").config
    assert config.data_source == "grammar"
    wanted = {**SIZES["grammar"], **GIVEN}
    assert {name: config.flat()[name] for name in wanted} == wanted


def test_penn_treebank_can_be_insisted_on(train_ptb, tmp_path):
    for arguments in (["--corpus", "ptb"], ["--data-dir", "gone"], ["--data-dir", str(tmp_path)]):
        answer = train_ptb(*arguments)
        assert (answer.code, answer.out) == (2, "")
        lines = answer.err.rstrip().split("\n")
        assert lines[0].startswith("textvae: error: Penn Treebank not found: ")
        assert lines[0].endswith(" HF_HUB_OFFLINE is set") == ("--corpus" in arguments)
        assert len(lines) == 4
        for way, said in zip(lines[1:], ("data/ptb/", "--data-dir", "the hub"), strict=True):
            assert said in way
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["data/ptb", "elsewhere"])
def test_a_different_file_of_that_name_is_named_as_different(train_ptb, tmp_path, place):
    directory = tmp_path / place
    directory.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (directory / f"ptb.{split}.txt").write_text(" no it was n't black monday \n")
    where = [] if place == "data/ptb" else ["--data-dir", str(directory)]
    answer = train_ptb(*where)
    assert (answer.code, answer.out) == (2, "")
    assert re.search(
        r"error: .*ptb\.train\.txt is not the Penn Treebank file of that name: expected 42068 "
        r"lines, 887521 words, .*; found 1 lines, 6 words",
        answer.err,
    )
    assert not (tmp_path / "runs").exists()


def test_each_corpus_is_trained_with_its_recipe(train_ptb, tmp_path, taken, monkeypatch):
    directory = tmp_path / "data" / "ptb"
    directory.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (directory / f"ptb.{split}.txt").write_text(" the <unk> rose N % \n")
    monkeypatch.setattr("textvae.corpus.ptb._check", lambda read, files: None)
    for arguments, name, directory in (
        (["--lr", "0.5"], "ptb", Path("runs/ptb-1")),
        (["--corpus=grammar", "--lr=0.5", "--output-dir=here"], "grammar", Path("here")),
    ):
        assert train_ptb(*arguments) == (0, "", "")
        wanted = {"corpus": name, "options": {"lr": 0.5}, "directory": directory, "recipe": None}
        assert taken.pop() == wanted
    shown = " ".join(train_ptb("--help").out.split())
    assert f"(default: {SIZES['ptb']['lr']}) (type: float)" in shown


def test_resume_takes_up_the_latest_run(train_ptb, tmp_path, taken):
    assert "no run to resume at runs/" in train_ptb("--resume").err
    (tmp_path / "runs" / "grammar-1").mkdir(parents=True)
    assert train_ptb("--resume", "--corpus", "ptb").code == 2
    assert train_ptb("--resume").code == 0  # all there is: Penn Treebank was not to be had
    (tmp_path / "runs" / "ptb-2").mkdir()
    for corpus in ("grammar", "ptb"):
        assert train_ptb("--resume", "--corpus", corpus).code == 0
    assert train_ptb("--resume", "--output-dir", "there", "--max-steps=9").code == 0
    directories = ["runs/grammar-1", "runs/grammar-1", "runs/ptb-2", "there"]
    assert [str(asked["directory"]) for asked in taken] == directories
    assert [asked["options"] for asked in taken] == [{}, {}, {}, {"max_steps": 9}]
    assert {asked["corpus"] for asked in taken} == {None}
    assert train_ptb("--resume", "--data-changed").code == 0
    assert [asked["data_changed"] for asked in taken] == [False] * 4 + [True]
