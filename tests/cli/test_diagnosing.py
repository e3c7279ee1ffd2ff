"""Tests of `textvae diagnose` and `textvae compare`, on tiny runs made once."""

import json
import math
import re
import signal
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.cli.calling import call, done
from tests.sizes import TINY
from textvae import grammar, recipes
from textvae.corpus import load_corpus
from textvae.diagnostics import likelihood

SPLITS = {"valid_fraction": 0.1, "test_fraction": 0.7}
KEYS = """rec kl elbo elbo_ppl nll nll_se ppl mi mi_max au au_curve kl_per_dim active_dimensions
ablation verdict advice num_sentences num_tokens num_samples"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs whose test split has two batches, 140 sentences of 200."""
    directory = tmp_path_factory.mktemp("diagnosing")
    text = directory / "mine.txt"
    text.write_text("\n".join(s.text for s in grammar.sample(200, seed=3)), encoding="utf-8")
    corpus = load_corpus(text, **SPLITS)
    for name, seed in (("first", 1), ("second", 2)):
        recipes.start(corpus, {**TINY, **SPLITS, "seed": seed}, directory / name).fit()
    return [str(directory / name) for name in ("first", "second")]


@pytest.fixture
def press_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Presses Ctrl-C in the measurement of one of the batches of the NLL."""
    # Tests that a shell has put into the background are begun with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(number: int) -> None:
        real, calls = likelihood._measure, count(1)

        def measure(*arguments: Any) -> Any:
            if next(calls) == number:
                signal.raise_signal(signal.SIGINT)
            return real(*arguments)

        monkeypatch.setattr(likelihood, "_measure", measure)

    yield press
    signal.signal(signal.SIGINT, before)


def test_diagnose(runs, tmp_path):
    page = tmp_path / "page.html"
    said = done("diagnose", runs[0], "--num-samples=2", f"--report={page}")
    assert said.out.startswith("mine, test split: 140 sentences of ")
    assert "\nverdict: " in said.out
    assert "\nnext: " in said.out
    assert "2 importance samples" in said.out
    assert "500 importance samples" in call("diagnose", runs[0], "--split=valid").out
    assert said.err.endswith(f"textvae: the report is in {page}\n")
    assert "<h1>first</h1>" in page.read_text(encoding="utf-8")


def test_diagnose_as_json(runs):
    said = done("diagnose", runs[0], "--num-samples=2", "--seed=1", "--split=valid", "--json")
    found = json.loads(said.out, parse_constant=pytest.fail)
    assert set(KEYS.split()) <= set(found)
    assert (found["run"], found["corpus"], found["split"]) == (runs[0], "mine", "valid")
    assert (found["num_samples"], found["num_sentences"]) == (2, 20)
    expected = recipes.diagnose_run(runs[0], "valid", num_samples=2, seed=1).diagnosis
    assert found["nll"] == expected.nll.nll
    assert found["elbo"] == -(found["rec"] + found["kl"])
    assert found["mi_max"] == math.log(20)
    assert set(found["ablation"]) >= {"own", "shuffled", "prior", "zero"}


def test_ctrl_c_shows_what_there_is(runs, tmp_path, press_in):
    page = tmp_path / "page.html"
    press_in(2)
    said = call("diagnose", runs[0], "--num-samples=2", f"--report={page}")
    assert said.code == 130
    assert "* cut short: NLL and PPL are of a random part of the sentences" in said.out
    assert "\nverdict: " in said.out
    # The batches are of 64, 64 and 12 sentences; one of them was measured.
    assert re.search("interrupted: the NLL of first is of (64|12) of its 140 sentences", said.err)
    assert "was cut short" in page.read_text(encoding="utf-8")


def test_ctrl_c_before_there_is_an_nll(runs, press_in):
    press_in(1)
    said = call("diagnose", runs[0], "--num-samples=2", "--json")
    found = json.loads(said.out)
    assert (said.code, found["nll"], found["nll_is_partial"]) == (130, None, True)
    assert "is of 0 of its 140 sentences" in said.err


def test_compare(runs, tmp_path):
    page = tmp_path / "page.html"
    said = done("compare", *runs, "--num-samples=2", f"--report={page}")
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["run", "first", "second"]
    assert "<h1>2 runs side by side</h1>" in page.read_text(encoding="utf-8")
    said = call("compare", *runs, "--num-samples=2", "--json")
    found = json.loads(said.out, parse_constant=pytest.fail)["runs"]
    assert [each["run"] for each in found] == runs
    assert found[1] == json.loads(call("diagnose", runs[1], "--num-samples=2", "--json").out)


def test_ctrl_c_leaves_the_runs_to_come(runs, press_in):
    press_in(3)
    said = call("compare", *runs, "--num-samples=2")
    assert said.code == 130
    assert [line.split()[0] for line in said.out.splitlines()[1:3]] == ["run", "first"]
    assert f"textvae: not measured: {runs[1]}" in said.err
