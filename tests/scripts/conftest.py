"""What the tests of scripts share: they run in this process, on a small corpus and tiny models."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.running import Answer
from tests.sizes import TINY
from textvae import grammar

Run = Callable[..., Answer]

OPTIONS = {**TINY, "word_dropout": 0.3, "annealer": "linear", "warmup_epochs": 1.0}
OPTIONS |= {"max_epochs": 2, "batch_size": 20}

TINY_MODEL = {"vocab_size": 20, "embedding_dim": 6, "latent_dim": 3}
TINY_MODEL |= {"encoder_hidden_size": 4, "decoder_hidden_size": 8}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A benchmark sets the number of threads, with which rounding changes in what follows."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script's `main` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        try:
            code = importlib.import_module(name).main()
        except SystemExit as stop:
            code = stop.code
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def small_grammar(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """Sixty sentences for the embedded corpus, out of sight of everyone else's cache."""
    whole = grammar.splits

    def small(seed: int = 0, *, train: int = 40) -> grammar.GrammarSplits:
        return whole(seed, train=min(train, 40), valid=10, test=10)

    monkeypatch.setattr(grammar, "splits", small)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def tiny_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models and tiny matrix products for benchmarks."""
    for name, value in TINY_MODEL.items():
        monkeypatch.setitem(importlib.import_module("benchmarks.models").PTB_SIZE, name, value)
    monkeypatch.setattr("benchmarks.bench.SIDE", 32)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, small_grammar: None, spawned: list[str]) -> list[str]:
    """Names of the runs that a sweep trains: tiny ones, in this process."""
    monkeypatch.setattr("textvae.recipes.named.SIZES", {"grammar": OPTIONS, "ptb": OPTIONS})
    return spawned
