"""What the tests of studies share: a small corpus, tiny models, and no processes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import benchmarking
from tests.scripts.running import SCRIPTS, Answer
from tests.sizes import TINY
from textvae import grammar, recipes
from textvae.run import RunDirectory

OPTIONS = {
    **TINY,
    "word_dropout": 0.3,
    "annealer": "linear",
    "warmup_epochs": 1.0,
    "max_epochs": 2,
    "batch_size": 20,
}


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[ModuleType, Callable[..., Answer]]]:
    """Loads a script as a module; gives what runs its `main` in an empty directory."""

    def load(name: str) -> tuple[ModuleType, Callable[..., Answer]]:
        spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)

        def run(*arguments: str) -> Answer:
            capsys.readouterr()
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
            try:
                code = script.main()
            except SystemExit as stop:
                code = stop.code
            return Answer(code, *capsys.readouterr())

        return script, run

    monkeypatch.chdir(tmp_path)
    return load


@pytest.fixture
def benchmark(
    study: Callable[[str], tuple[ModuleType, Callable[..., Answer]]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Answer]:
    """The `main` of `benchmark.py`, with tiny models and tiny matrix products."""
    monkeypatch.syspath_prepend(SCRIPTS)  # as python does for a script
    _, run = study("benchmark")
    for name, value in benchmarking.TINY.items():
        monkeypatch.setitem(benchmarking.part("subject").PTB_SIZE, name, value)
    monkeypatch.setattr(benchmarking.part("arithmetic"), "SIDE", 32)
    return run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the runs that a sweep trains: tiny ones, in this process."""
    whole, names = grammar.splits, list[str]()

    def small(seed: int = 0, *, train: int = 40) -> grammar.GrammarSplits:
        return whole(seed, train=min(train, 40), valid=10, test=10)

    class Done:
        exitcode = sentinel = 0
        is_alive = staticmethod(lambda: False)

    def spawn(run: RunDirectory, afterwards: Callable[[Path], object]) -> Done:
        names.append(run.path.name)
        config = run.config
        is_new = not run.path.exists()
        corpus = recipes.open_corpus(config.data_source, config.data) if is_new else None
        for trainer in recipes.phases(corpus, config.flat(), run.path):
            trainer.fit()
        afterwards(run.path)
        return Done()

    sweep = importlib.import_module("textvae.recipes.sweep")
    monkeypatch.setattr(sweep, "_spawn", spawn)
    monkeypatch.setattr(sweep, "wait", lambda sentinels, seconds: None)
    monkeypatch.setattr(grammar, "splits", small)
    monkeypatch.setattr("textvae.recipes.options.RECIPES", {"grammar": OPTIONS, "ptb": OPTIONS})
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    return names
