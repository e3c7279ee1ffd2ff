"""Tests of `scripts/train_ptb.py`, without Penn Treebank and on a small embedded corpus."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import running
from textvae import cli, grammar, ptb
from textvae.recipes import RECIPES
from textvae.run import RunDirectory
from textvae.training import Trainer
from textvae.training.interrupt import SafeInterrupt

run_script = partial(running.run_script, "train_ptb")

TINY = [
    "--latent-dim=2",
    "--embedding-dim=4",
    "--encoder-hidden-size=4",
    "--decoder-hidden-size=4",
    "--autoencoder-epochs=0",
    "--language-model-epochs=0",
    "--max-steps=2",
    "--precision=fp32",
    "--device=cpu",
]


@pytest.fixture(scope="module", autouse=True)
def _small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sixty sentences for the embedded corpus, out of sight of everyone else's cache."""
    whole = grammar.splits

    def small(seed: int = 0, *, train: int = 40) -> grammar.GrammarSplits:
        return whole(seed, train=min(train, 40), valid=10, test=10)

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grammar, "splits", small)
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        yield


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `data/ptb/` under the current directory or beside the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptb, "__file__", str(tmp_path / "a" / "ptb.py"))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the script asks to be trained; nothing is."""
    asked: list[dict[str, Any]] = []

    def train(corpus: Any, options: Any, directory: Path, *, command: str) -> None:
        name = corpus.name if corpus else None
        asked.append({"corpus": name, "options": options, "directory": directory})

    monkeypatch.setattr(cli, "train", train)
    return asked


def test_without_penn_treebank_the_embedded_corpus_takes_its_place(tmp_path: Path) -> None:
    began = time.monotonic()
    seen: list[float] = []

    class Watch(io.StringIO):
        def write(self, text: str) -> int:
            if not seen:
                seen.append(time.monotonic() - began)
            return super().write(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "StringIO", Watch)
        answer = run_script(*TINY)
    assert answer.code == 0
    assert seen[0] < 5
    first = answer.err.split("\n")[0]
    assert re.fullmatch(
        r"Penn Treebank not found: .*: training on the embedded corpus instead", first
    )
    assert "EMBEDDED CORPUS (made by a grammar, no real text), test split: 10 sen" in answer.out
    assert "Penn Treebank" not in answer.out
    assert "Traceback" not in answer.err
    for part in ("−ELBO", "KL per dimension", "samples from", "reconstructions", "interpolation"):
        assert part in answer.out
    assert "the run is in runs/grammar-1; go on with" in answer.out
    config = RunDirectory.open(tmp_path / "runs" / "grammar-1").config
    assert config.data_source == "grammar"
    flat = config.flat()
    for name, value in RECIPES["grammar"].items():
        given = any(f"--{name.replace('_', '-')}=" in argument for argument in TINY)
        assert given or flat[name] == value


def test_the_embedded_corpus_can_be_asked_for(taken: list[dict[str, Any]]) -> None:
    answer = run_script("--corpus", "grammar", "--seed", "3", "--output-dir", "here")
    assert answer == (0, "", "")
    assert taken == [
        {
            "corpus": "grammar",
            "options": {**RECIPES["grammar"], "seed": 3},
            "directory": Path("here"),
        }
    ]


def test_penn_treebank_can_be_insisted_on(tmp_path: Path) -> None:
    for arguments in (["--corpus", "ptb"], ["--data-dir", "gone"], ["--data-dir", str(tmp_path)]):
        began = time.monotonic()
        answer = run_script(*arguments)
        assert time.monotonic() - began < 5
        assert (answer.code, answer.out) == (2, "")
        lines = answer.err.rstrip().split("\n")
        assert lines[0].startswith("textvae: error: Penn Treebank not found")
        assert len(lines) == 4
        for way, said in zip(lines[1:], ("data/ptb/", "--data-dir", "the hub"), strict=True):
            assert said in way
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("corpus", ["auto", "ptb"])
@pytest.mark.parametrize("place", ["data/ptb", "elsewhere"])
def test_a_different_file_of_that_name_is_named_as_different(
    tmp_path: Path, corpus: str, place: str
) -> None:
    directory = tmp_path / place
    directory.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (directory / f"ptb.{split}.txt").write_text(" no it was n't black monday \n")
    where = [] if place == "data/ptb" else ["--data-dir", str(directory)]
    answer = run_script("--corpus", corpus, *where)
    assert (answer.code, answer.out) == (2, "")
    assert re.search(
        r"error: .*ptb\.train\.txt is not the Penn Treebank file of that name: expected 42068 "
        r"lines, 887521 words, .*; found 1 lines, 6 words",
        answer.err,
    )
    assert not (tmp_path / "runs").exists()


def test_the_real_files_are_trained_with_their_recipe(
    tmp_path: Path, taken: list[dict[str, Any]], stand_in: Callable[[Path], None]
) -> None:
    stand_in(tmp_path / "data" / "ptb")
    assert run_script("--lr", "0.5").code == 0
    assert taken[0]["corpus"] == "ptb"
    assert taken[0]["options"] == {**RECIPES["ptb"], "lr": 0.5}
    assert taken[0]["directory"] == Path("runs/ptb-1")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Writes three small files, and lets them count as Penn Treebank."""

    def write(directory: Path) -> None:
        directory.mkdir(parents=True)
        for split in ("train", "valid", "test"):
            (directory / f"ptb.{split}.txt").write_text(" the <unk> rose N % \n")
        monkeypatch.setattr(ptb, "_check_file", lambda path, expected: None)

    return write


def test_resume_takes_up_the_latest_run(tmp_path: Path, taken: list[dict[str, Any]]) -> None:
    missing = run_script("--resume")
    assert missing.code == 2
    assert "no run to resume at runs/" in missing.err
    (tmp_path / "runs" / "grammar-1").mkdir(parents=True)
    assert run_script("--resume", "--corpus", "ptb").code == 2
    assert run_script("--resume").code == 0  # all there is: Penn Treebank was not to be had
    (tmp_path / "runs" / "ptb-2").mkdir()
    assert run_script("--resume", "--corpus", "grammar").code == 0
    assert run_script("--resume", "--corpus", "ptb").code == 0
    assert run_script("--resume", "--output-dir", "there", "--max-steps=9").code == 0
    names = ["runs/grammar-1", "runs/grammar-1", "runs/ptb-2", "there"]
    assert [str(asked["directory"]) for asked in taken] == names
    assert [asked["options"] for asked in taken] == [{}, {}, {}, {"max_steps": 9}]
    assert {asked["corpus"] for asked in taken} == {None}


def test_ctrl_c_tells_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Trainer.fit

    def press(trainer: Trainer) -> str:
        raise SafeInterrupt

    monkeypatch.setattr(Trainer, "fit", press)
    answer = run_script("--corpus=grammar", *TINY)
    assert (answer.code, answer.out) == (130, "")
    command = "python scripts/train_ptb.py --output-dir runs/grammar-1 --resume"
    assert answer.err.rstrip().endswith(f"interrupted; to go on: {command}")
    monkeypatch.setattr(Trainer, "fit", fit)
    resumed = run_script(*command.split()[2:])
    assert resumed.code == 0
    assert "EMBEDDED CORPUS" in resumed.out


def test_help_names_the_options_of_the_recipe() -> None:
    answer = run_script("--help")
    assert answer.code == 0
    for flag in ("--data-dir", "--corpus", "--output-dir", "--max-steps", "--seed", "--resume"):
        assert flag in answer.out
    assert f"(type: float, default: {RECIPES['ptb']['free_bits']})" in " ".join(answer.out.split())
