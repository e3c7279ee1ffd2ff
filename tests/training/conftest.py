"""Trainers of a tiny model on sixty sentences, and what they leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sizes import SMALL
from textvae import grammar
from textvae.annealers import KLAnnealer
from textvae.checkpoint import RunDirectory
from textvae.config import RunConfig
from textvae.data import BatchLoader, EncodedSplit
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer

OPTIONS = {**SMALL, "word_dropout": 0.2, "lr": 0.01, "max_epochs": 3, "log_every": 3}
"""48 sentences to train on: an epoch is six steps."""

STEPS = 6
TIMING = ("seconds", "tokens_per_second")


@pytest.fixture(scope="session")
def sixty() -> list[str]:
    """Sentences of three to six words: 48 to train on, twelve to judge by."""
    drawn = [sentence.text.split() for sentence in grammar.sample(60, seed=1)]
    return [" ".join(words[: 3 + i % 4]) for i, words in enumerate(drawn)]


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
        is_new = not path.exists()
        if is_new:
            run = RunDirectory.create(path, RunConfig.from_flat("sixty", {**OPTIONS, **options}))
            torch.manual_seed(run.config.training.seed)
            sizes = vars(run.config.model)
            SentenceVAE(len(vocabulary), **sizes, tokenizer=vocabulary).save_pretrained(path)
        run = RunDirectory.open(path)
        run.reconfigure(RunConfig.from_flat("sixty", run.config.flat() | options))
        training = run.config.training
        trainer = Trainer(
            SentenceVAE.from_pretrained(path),
            BatchLoader(
                EncodedSplit.from_ids(vocabulary.encode_batch(train)),
                batch_size=training.batch_size,
                seed=training.seed,
            ),
            BatchLoader(
                EncodedSplit.from_ids(vocabulary.encode_batch(valid)), batch_size=5, shuffle=False
            ),
            run,
            annealer=annealer,
        )
        if is_new:
            torch.manual_seed(training.seed)
        else:
            torch.manual_seed(123)  # nothing may hang on what the process did before
            trainer.resume()
        return trainer

    return make


@pytest.fixture
def interrupt_in() -> Callable[[Trainer, int], None]:
    """Presses Ctrl-C in the middle of a trainer's step number `step`."""

    def arrange(trainer: Trainer, step: int) -> None:
        add = trainer.window.add

        def press(number: int, *arguments: Any) -> None:
            add(number, *arguments)
            if number == step:
                signal.raise_signal(signal.SIGINT)

        trainer.window.add = press  # type: ignore[method-assign]

    return arrange


@pytest.fixture(scope="session")
def left_behind() -> Callable[[Trainer], dict[str, Any]]:
    """All that a run leaves behind, but for timing: weights, training state, metrics."""

    def gather(trainer: Trainer) -> dict[str, Any]:
        run = trainer.run
        state = {k: v for k, v in run.load_state().items() if k not in TIMING}
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
