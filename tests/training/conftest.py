"""Trainers of a tiny model on sixty sentences, and what they leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.training.building import opened, prepared, sixty_sentences
from textvae.annealers import KLAnnealer
from textvae.config import RunConfig
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer

STEPS = 6
TIMING = ("seconds", "tokens_per_second")


@pytest.fixture(scope="session")
def sixty() -> list[str]:
    """48 sentences to train on, twelve to judge by."""
    return sixty_sentences()


@pytest.fixture(scope="session")
def vocabulary(sixty: list[str]) -> Tokenizer:
    return Tokenizer.train(sixty)


@pytest.fixture(scope="session")
def build(sixty: list[str], vocabulary: Tokenizer) -> Callable[..., Trainer]:
    """Builds a trainer in a directory; where there is a run, it goes on with that run."""

    def make(
        path: Path,
        *,
        annealer: KLAnnealer | None = None,
        train: list[str] = sixty[:48],
        valid: list[str] = sixty[48:],
        **options: Any,
    ) -> Trainer:
        if not path.exists():
            prepared(path, vocabulary, options)
        run = RunDirectory.open(path)
        run.reconfigure(RunConfig.from_flat("sixty", run.config.flat() | options))
        return opened(path, train, valid, annealer=annealer)

    return make


@pytest.fixture
def interrupt_in() -> Callable[[Trainer, int], None]:
    """Presses Ctrl-C in the middle of a trainer's step number `step`."""

    def arrange(trainer: Trainer, step: int) -> None:
        note = trainer._note

        def press(*arguments: Any) -> None:
            note(*arguments)
            if trainer.progress.step == step:
                signal.raise_signal(signal.SIGINT)

        trainer._note = press  # type: ignore[method-assign]

    return arrange


@pytest.fixture(scope="session")
def left_behind() -> Callable[[Trainer], dict[str, Any]]:
    """All that a run leaves behind, but for timing: weights, training state, metrics."""

    def gather(trainer: Trainer) -> dict[str, Any]:
        run = trainer.run
        state = run.load_state()
        del state["progress"]["seconds"]
        lines = [{k: v for k, v in line.items() if k not in TIMING} for line in run.metrics()]
        return {
            "state": plain(state),
            "weights": plain(SentenceVAE.from_pretrained(run.path).state_dict()),
            "in memory": plain(trainer.model.state_dict()),
            "lines": lines,
            "ended": trainer.ended,
        }

    return gather


@pytest.fixture(scope="session")
def uninterrupted(
    build: Callable[..., Trainer],
    left_behind: Callable[[Trainer], dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., dict[str, Any]]:
    """What a run with some options leaves behind when nothing happens to it; trained once each."""
    known: dict[str, dict[str, Any]] = {}

    def train(annealer: Callable[[], KLAnnealer] | None = None, **options: Any) -> dict[str, Any]:
        key = repr((annealer, sorted(options.items())))
        if key not in known:
            path = tmp_path_factory.mktemp("uninterrupted") / "run"
            trainer = build(path, annealer=annealer and annealer(), **options)
            trainer.fit()
            known[key] = left_behind(trainer)
        return known[key]

    return train


def plain(node: Any) -> Any:
    """The same with tensors as lists, which `==` compares number by number."""
    if isinstance(node, Tensor):
        return node.tolist()
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items()}
    return [plain(v) for v in node] if isinstance(node, list) else node
