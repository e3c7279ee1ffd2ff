"""Tests of `benchmark.py data` and `memory` on tiny corpora: what is compared and told, no time."""

from __future__ import annotations

import importlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.running import SCRIPTS
from textvae import grammar
from textvae.batches import BatchLoader, encode_split
from textvae.corpus import load_corpus, train_tokenizer

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(study: Callable[[str], tuple[Any, Run]]) -> Run:
    _, run = study("benchmark")
    return run


def part(name: str) -> Any:
    return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def small_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = grammar.splits

    def small(seed: int = 0, *, train: int = 40) -> grammar.GrammarSplits:
        return whole(seed, train=min(train, 40), valid=10, test=10)

    monkeypatch.setattr(grammar, "splits", small)


@pytest.mark.usefixtures("small_grammar")
def test_data_from_options_to_results(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, caches = part("first_batch"), list[str]()

    def in_this_process(module: str, function: str, *args: Any, environment: Any) -> Any:
        assert module == "benchmarks.first_batch"
        with monkeypatch.context() as patch:
            patch.setenv("HF_DATASETS_CACHE", environment["HF_DATASETS_CACHE"])
            if function == "textvae_way":
                caches.append(environment["HF_DATASETS_CACHE"])
            return getattr(here, function)(*args)

    monkeypatch.setattr(part("data"), "in_fresh_process", in_this_process)
    monkeypatch.setattr(part("data"), "run_time", lambda arguments: float(len(arguments)))
    answer = run("data", "--batch-size=8", "--rounds=2", "--threads=1", "--json=found.json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    pairs = {pair["name"]: pair for pair in found["pairs"]}
    assert {name: pair["unit"] for name, pair in pairs.items()} == {
        "text to first batch, new cache": "tokens/s",
        "text to first batch, cached": "tokens/s",
        "tokenising": "tokens/s",
        "an epoch's batches": "batches/s",
    }
    assert pairs["tokenising"]["agreement"].startswith("the same 40 sentences, ")
    assert pairs["an epoch's batches"]["agreement"].startswith("padding ")
    seconds = found["also"]["seconds to the first batch"]
    assert list(seconds) == ["new cache", "cached", "usual loop"]
    assert found["also"]["seconds to start"] == {
        "textvae --help": 3.0,
        "import torch": 2.0,
        "all names of textvae": 2.0,
    }
    # Once unmeasured and two rounds, of each; then one new cache, and the same again.
    new, cached, last = caches[:3], caches[3:6], caches[6:]
    assert (len(set(new)), len(set(cached)), len(last), len(set(last))) == (3, 1, 2, 1)


def test_the_usual_way_of_reading(tmp_path: Path) -> None:
    reading = part("usual.reading")
    (tmp_path / "train.txt").write_text("b a b\n\n<unk> a\n", encoding="utf-8")
    words = reading.read_words(tmp_path / "train.txt")
    vocabulary = reading.vocabulary_of(words)
    assert vocabulary == {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3, "b": 4, "a": 5}
    assert reading.ids_of([*words, ["c"]], vocabulary) == [[4, 5, 4], [], [1, 5], [1]]


def test_sides_that_differ_are_refused(tmp_path: Path) -> None:
    data = part("data")
    path = tmp_path / "train.txt"
    path.write_text("a b\nb\n", encoding="utf-8")
    corpus = load_corpus(path, valid_fraction=0, test_fraction=0)
    texts = data.Texts(tmp_path, 3, 5)
    assert data.tokenising(texts, corpus, [["a", "b"], ["b"]]).check().startswith("the same 2 ")
    with pytest.raises(RuntimeError, match="don't do the same: sentence 2 differs"):
        data.tokenising(texts, corpus, [["a", "b"], ["c"]]).check()
    split = encode_split(corpus["train"], train_tokenizer(corpus["train"]))
    assert data.epoch(split, [[4, 5], [5]], 1).check() == "padding 0.0% and 0.0%"
    assert data.epoch(split, [[4, 5], [5]], 2).check() == "padding 16.7% and 16.7%"
    assert data.epoch(split, [[4, 5], [5]], 1).ours() == len(BatchLoader(split, batch_size=1))
    with pytest.raises(RuntimeError, match="don't do the same: other batches or tokens"):
        data.epoch(split, [[4, 5]], 1).check()


def test_memory_from_options_to_results(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = part("memory")

    def in_this_process(module: str, function: str, *args: Any, environment: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setenv("HF_DATASETS_CACHE", environment["HF_DATASETS_CACHE"])
            return getattr(memory, function)(*args)

    monkeypatch.setattr(memory, "in_fresh_process", in_this_process)
    command = ("memory", "--small=100", "--large=200", "--steps=2", "--rounds=1", "--threads=1")
    answer = run(*command, "--work-dir=work", "--json=found.json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    also = found["also"]
    assert list(also) == [
        *("tokenise, 100 sentences", "train, 100 sentences"),
        *("tokenise, 200 sentences", "train, 200 sentences"),
        *("tokenise, difference", "train, difference"),
    ]
    small, large = also["train, 100 sentences"], also["train, 200 sentences"]
    for name, value in also["train, difference"].items():
        assert value == pytest.approx(large[name] - small[name])
    assert small["opened, peak MB"] <= small["trained, peak MB"]
    for figures in (small, large):
        assert 0 < figures["trained, anonymous MB"] <= figures["trained, peak MB"]
    texts = tmp_path / "work" / "grammar-200.txt"
    lines = texts.read_text().splitlines()
    assert lines == [sentence.text for sentence in grammar.sample(200)]
    before = texts.stat().st_mtime_ns
    run(*command, "--work-dir=work")
    assert texts.stat().st_mtime_ns == before  # drawn once


def test_sentences_are_drawn_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, sizes = part("memory"), list[int]()
    whole = grammar.sample

    def sample(n: int, seed: int) -> list[grammar.GrammarSentence]:
        sizes.append(n)
        return whole(n, seed)

    monkeypatch.setattr(memory, "DRAWN_AT_ONCE", 30)
    monkeypatch.setattr(grammar, "sample", sample)
    memory.write_texts(tmp_path / "texts.txt", 70)
    assert sizes == [30, 30, 10]
    assert len(set((tmp_path / "texts.txt").read_text().splitlines())) == 70


def test_the_peak_is_seen() -> None:
    memory = part("memory")
    with memory.watched() as look:
        held = bytearray(b"x" * 200_000_000)
        most = memory.memory("RssAnon")
        assert most > 190
        time.sleep(0.1)
        del held
        assert memory.memory("RssAnon") < most - 100
        found = look("some ")
    assert found["some anonymous MB"] >= most - 10
    assert found["some peak MB"] >= most - 10


def test_a_start_takes_time_or_fails() -> None:
    data = part("data")
    assert data.run_time(["-c", "import time; time.sleep(0.2)"]) > 0.2
    with pytest.raises(subprocess.CalledProcessError):
        data.run_time(["-c", "import nothing"])


def test_a_fresh_process_answers_or_fails(tmp_path: Path) -> None:
    fresh = part("fresh")
    environment = {"TEXTVAE_TEST": "seen"}
    told = fresh.in_fresh_process("os", "getenv", "TEXTVAE_TEST", environment=environment)
    assert told == "seen"
    with pytest.raises(RuntimeError, match=r"os\.nothing failed with exit code 1"):
        fresh.in_fresh_process("os", "nothing", environment={})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["data", "--batch-size=0"], "batch-size must be at least 1, got 0"),
        (["data", "--data-dir=./gone"], "gone"),
        (["memory", "--small=10"], "small must be at least 100, got 10"),
        (["memory", "--steps=0"], "steps must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused(run: Run, arguments: list[str], named: str) -> None:
    answer = run(*arguments)
    assert answer.code == 2
    assert named in answer.err
