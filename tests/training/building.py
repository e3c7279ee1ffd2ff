"""A tiny model on sixty sentences, for the tests and for processes that they start."""

import signal
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.sizes import SMALL
from textvae import grammar
from textvae.batches import BatchLoader, EncodedSplit
from textvae.config import RunConfig
from textvae.diagnostics import Evaluation
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import Remedy, Trainer
from textvae.training.step import LocalBatch

OPTIONS = {**SMALL, "word_dropout": 0.2, "lr": 0.01, "max_epochs": 3, "log_every": 3}
STILL = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
STEPS = 6  # of an epoch over 48 sentences
TIMING = ("seconds", "tokens_per_second")

Build = Callable[..., Trainer]


class Theirs:
    """Someone's annealer, no more than the contract: weights by step, the last one for good."""

    def __init__(self, weights: list[float]) -> None:
        self.weights, self.taken = weights, 0
        self.events: list[str] = []
        self.kls: list[float] = []

    def __call__(self, kl: Any) -> Any:
        self.events.append("call")
        self.kls.append(float(kl.detach()))
        return kl * self.weights[min(self.taken, len(self.weights) - 1)]

    def step(self) -> None:
        self.events.append("step")
        self.taken += 1


@cache
def sixty_sentences() -> list[str]:
    """Sentences of three to six words: 48 to train on, twelve to judge by."""
    drawn = [sentence.text.split() for sentence in grammar.sample(60, seed=1)]
    return [" ".join(words[: 3 + i % 4]) for i, words in enumerate(drawn)]


@cache
def vocabulary() -> Tokenizer:
    return Tokenizer.train(sixty_sentences())


def prepared(path: Path, options: Mapping[str, Any]) -> RunDirectory:
    """A new run with an untrained model."""
    run = RunDirectory.create(path, RunConfig.from_flat("sixty", {**OPTIONS, **options}))
    torch.manual_seed(run.config.training.seed)
    model = SentenceVAE(len(vocabulary()), **vars(run.config.model), tokenizer=vocabulary())
    model.save_pretrained(path)
    return run


def trainer_at(
    path: Path,
    *,
    annealer: Any = None,
    remedies: Mapping[str, Remedy] | None = None,
    train: int = 48,
    valid: int = 12,
    **options: Any,
) -> Trainer:
    """A trainer on so many sentences; where there is a run, it goes on with that run."""
    if not path.exists():
        prepared(path, options)
    run = RunDirectory.open(path)
    if options:
        run.config = RunConfig.from_flat("sixty", run.config.flat() | options)
        run.write_config()
    model, training = SentenceVAE.from_pretrained(path), run.config.training
    ids = model.tokenizer.encode_batch(sixty_sentences())
    splits = EncodedSplit.from_ids(ids[:train]), EncodedSplit.from_ids(ids[48 : 48 + valid])
    trainer = Trainer(
        model,
        BatchLoader(splits[0], batch_size=training.batch_size, seed=training.seed),
        BatchLoader(splits[1], batch_size=5, shuffle=False),
        run,
        annealer=annealer() if isinstance(annealer, type) else annealer,
        remedies=remedies or {},
    )
    if run.state_file.exists():
        torch.manual_seed(123)  # nothing may hang on what the process did before
        trainer.resume()
    else:
        torch.manual_seed(training.seed)
    return trainer


def in_step(trainer: Trainer, step: int, act: Callable[[], Any]) -> None:
    """Let something happen in the middle of a trainer's step number `step`."""
    update = trainer.stepper.update

    def acting(local: LocalBatch, only: Any = None) -> Any:
        if only is None and trainer.progress.step + 1 == step:
            act()
        return update(local, only)

    trainer.stepper.update = acting


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def evaluation(elbo: float = -50.0, kl: float = 1.0, mi: float = 0.5) -> Evaluation:
    return Evaluation(-elbo - kl, kl, elbo, 9.0, mi, 2.5, 1, 1, [kl], 12, 99)


def lines(run: RunDirectory, split: str | None = None) -> list[dict[str, Any]]:
    """What was logged, but for timing."""
    kept = [line for line in run.metrics() if split in (None, line["split"])]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in kept]


def left_behind(trainer: Trainer) -> dict[str, Any]:
    """All that a run leaves behind, but for timing: weights, training state, metrics."""
    state = trainer.run.load_state()
    del state["progress"]["seconds"]
    return {
        "state": plain(state),
        "weights": plain(SentenceVAE.from_pretrained(trainer.run.path).state_dict()),
        "in memory": plain(trainer.model.state_dict()),
        "lines": lines(trainer.run),
        "ended": trainer.ended,
    }


def plain(node: Any) -> Any:
    """The same with tensors as lists, which `==` compares number by number."""
    if isinstance(node, Tensor):
        return node.tolist()
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items()}
    return [plain(v) for v in node] if isinstance(node, list) else node
