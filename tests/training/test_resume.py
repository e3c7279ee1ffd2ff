"""Tests of `textvae.training.trainer`: a resumed run is the uninterrupted one, bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae.annealers import ConstantAnnealer, LinearAnnealer
from textvae.batches import Batch
from textvae.diagnostics import Evaluation
from textvae.training import Trainer
from textvae.training.interrupt import SafeInterrupt

Build = Callable[..., Trainer]
LeftBehind = Callable[[Trainer], dict[str, Any]]
Uninterrupted = Callable[..., dict[str, Any]]
InterruptIn = Callable[[Trainer, int], None]

STEPS = 6  # of an epoch
ADAM = {"optimizer": "adam", "lr": 0.01}
SGD = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05}
# So fast that it gets worse: an epoch better, the next ones worse.
DECAYING = {
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "lr": 3.0},
    "adam": {"optimizer": "adam", "lr": 0.5},
}
HASTY = {"lr_patience": 0, "warmup_epochs": 0.0}


class Theirs:
    """An annealer of another package: full weight after some steps, and no more to it."""

    def __init__(self, steps: int = 9) -> None:
        self.taken, self.steps = 0, steps

    def __call__(self, kl: Any) -> Any:
        return kl * min(1.0, self.taken / self.steps)

    def step(self) -> None:
        self.taken += 1


def interrupt_evaluation(trainer: Trainer, number: int) -> None:
    """Press Ctrl-C in the middle of a trainer's evaluation number `number`, from 1."""
    epoch = trainer.valid.epoch
    calls = iter(range(1, 99))

    def press(*arguments: Any) -> Iterator[Batch]:
        is_the_one = next(calls) == number
        for i, batch in enumerate(epoch(*arguments)):
            if is_the_one and i == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch

    trainer.valid.epoch = press  # type: ignore[method-assign]


def interrupted(trainer: Trainer) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SafeInterrupt):
        trainer.fit()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("optimizer", "precision", "step"),
    [
        (ADAM, "fp32", 1),
        (ADAM, "fp32", STEPS + 2),  # mid-epoch, between two log lines
        (ADAM, "bf16", STEPS + 2),
        (SGD, "fp32", STEPS + 2),
        (SGD, "bf16", STEPS + 2),
        (SGD, "fp32", 2 * STEPS),  # an epoch's last step, before its evaluation
        (ADAM, "fp32", 2 * STEPS),
    ],
)
def test_interrupted_between_two_steps(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    interrupt_in: InterruptIn,
    tmp_path: Path,
    precision: str,
    optimizer: dict[str, Any],
    step: int,
) -> None:
    options = {**optimizer, "precision": precision}
    whole = uninterrupted(**options)
    first = build(tmp_path / "run", **options)
    interrupt_in(first, step)
    interrupted(first)
    assert first.progress.step == step
    second = build(tmp_path / "run")
    assert second.progress.step == step
    assert second.fit() == "3 epochs done"
    assert left_behind(second) == whole


@pytest.mark.parametrize(("optimizer", "number"), [(ADAM, 1), (SGD, 3)])
def test_interrupted_during_an_evaluation(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    tmp_path: Path,
    optimizer: dict[str, Any],
    number: int,
) -> None:
    whole = uninterrupted(**optimizer)
    first = build(tmp_path / "run", **optimizer)
    interrupt_evaluation(first, number)
    interrupted(first)
    assert first.model.training
    assert len([r for r in first.run.metrics() if r["split"] == "valid"]) == number - 1
    second = build(tmp_path / "run")
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_interrupted_after_a_decay(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    interrupt_in: InterruptIn,
    tmp_path: Path,
    optimizer: str,
) -> None:
    options = {**DECAYING[optimizer], **HASTY, "max_epochs": 6}
    whole = uninterrupted(**options)
    verdicts = [line["verdict"] for line in whole["lines"] if line["split"] == "valid"]
    decayed = verdicts.index("decay") + 1
    assert "decay" in verdicts[decayed:]  # so that resuming must not undo the first one
    first = build(tmp_path / "run", **options)
    interrupt_in(first, decayed * STEPS + 2)
    interrupted(first)
    second = build(tmp_path / "run")
    assert second.stepper.lr == pytest.approx(options["lr"] / 2)
    second.fit()
    assert left_behind(second) == whole


def test_interrupted_twice(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    interrupt_in: InterruptIn,
    tmp_path: Path,
) -> None:
    whole = uninterrupted()
    for step in (4, 5):
        trainer = build(tmp_path / "run")
        interrupt_in(trainer, step)
        interrupted(trainer)
    third = build(tmp_path / "run")
    third.fit()
    assert left_behind(third) == whole


class CrashError(Exception):
    pass


@pytest.mark.parametrize(
    ("step", "saved"), [(2, 0), (5, 4), (7, 6), (12, 8)], ids=["start", "mid", "epoch", "mid-2"]
)
def test_killed_at_any_moment(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    saved: int,
) -> None:
    whole = uninterrupted(save_every=4, log_every=1)
    first = build(tmp_path / "run", save_every=4, log_every=1)
    note = first._note

    def crash(*arguments: Any) -> None:
        if first.progress.step == step:
            raise CrashError
        note(*arguments)

    first._note = crash  # type: ignore[method-assign]
    with pytest.raises(CrashError):
        first.fit()
    with first.run.metrics_file.open("a") as file:
        file.write('{"split": "train", "ste')  # half a line
    second = build(tmp_path / "run")
    assert second.progress.step == saved
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize("moment", ["before the model is saved", "before the state is saved"])
def test_killed_while_an_epoch_is_judged(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    whole = uninterrupted(save_every=5)
    first = build(tmp_path / "run", save_every=5)

    def crash(*arguments: Any, **options: Any) -> None:
        if first.progress.step == 2 * STEPS:
            raise CrashError

    if moment == "before the model is saved":
        monkeypatch.setattr(first.model, "save_pretrained", crash)
    else:
        log = first.run.log
        monkeypatch.setattr(first.run, "log", lambda record: (log(record), crash()))
    with pytest.raises(CrashError):
        first.fit()
    second = build(tmp_path / "run")
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize("limit", [1, STEPS, STEPS + 3])
def test_more_steps_than_first_allowed(
    build: Build, left_behind: LeftBehind, uninterrupted: Uninterrupted, tmp_path: Path, limit: int
) -> None:
    whole = uninterrupted(max_steps=15)
    first = build(tmp_path / "run", max_steps=limit)
    assert first.fit() == f"{limit} steps done"
    assert [r["step"] for r in first.run.metrics() if r["split"] == "valid"][-1] == limit
    second = build(tmp_path / "run", max_steps=15)
    assert second.fit() == "15 steps done"
    assert left_behind(second) == whole


def test_an_evaluation_in_mid_epoch_does_not_change_what_a_longer_run_returns_to(
    build: Build, left_behind: LeftBehind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(elbos: list[float], **options: Any) -> Trainer:
        values = iter(elbos)
        monkeypatch.setattr(
            "textvae.training.trainer.evaluate",
            lambda *_, **__: Evaluation(1.0, 1.0, next(values), 9.0, 0.5, 2.5, 1, 1, [1.0], 12, 99),
        )
        trainer = build(**options)
        trainer.fit()
        return trainer

    whole = fit([-50, -55, -60], path=tmp_path / "whole", **HASTY)
    fit([-50, -40], path=tmp_path / "run", **HASTY, max_steps=STEPS + 3)
    second = fit([-55, -60], path=tmp_path / "run", max_steps=None)
    assert left_behind(second) == left_behind(whole)


def test_more_epochs_than_first_allowed(
    build: Build, left_behind: LeftBehind, uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    whole = uninterrupted(max_epochs=3)
    build(tmp_path / "run", max_epochs=2).fit()
    second = build(tmp_path / "run", max_epochs=3)
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize("options", [{"max_epochs": 2}, {"max_steps": 8}])
def test_a_finished_run_stays_as_it_is(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    first = build(tmp_path / "run", **options)
    reason = first.fit()
    before = left_behind(first)
    second = build(tmp_path / "run")
    assert second.fit() == reason
    assert left_behind(second) == before


def test_a_smaller_limit_than_was_reached_ends_training(build: Build, tmp_path: Path) -> None:
    build(tmp_path / "run", max_steps=8).fit()
    second = build(tmp_path / "run", max_steps=5)
    assert second.fit() == "8 steps done"


def test_an_exhausted_learning_rate_stays_exhausted(build: Build, tmp_path: Path) -> None:
    options = {**DECAYING["sgd"], **HASTY, "max_lr_decays": 1, "max_epochs": 20}
    first = build(tmp_path / "run", **options)
    reason = first.fit()
    assert reason.startswith("no better ELBO for ")
    assert build(tmp_path / "run", max_epochs=30).fit() == reason


# Someone else's annealer


def test_their_annealer_steps_once_a_batch_and_its_weight_is_logged(
    build: Build, tmp_path: Path
) -> None:
    theirs = Theirs()
    trainer = build(tmp_path / "run", annealer=theirs)
    trainer.fit()
    assert theirs.taken == 3 * STEPS
    records = trainer.run.metrics()
    betas = [(r["step"], r["beta"]) for r in records if r["split"] == "train"]
    assert [step for step, _ in betas] == [3, 6, 9, 12, 15, 18]
    # Its own word is not to be had: the weight of the last batch.
    assert [beta for _, beta in betas] == pytest.approx([2 / 9, 5 / 9, 8 / 9, 1, 1, 1])


def test_their_annealer_is_finished_when_its_weight_rests(build: Build, tmp_path: Path) -> None:
    trainer = build(tmp_path / "run", annealer=Theirs(9), max_epochs=4, lr_patience=9)
    best = []
    judge = trainer._judge_epoch
    trainer._judge_epoch = lambda found: (judge(found), best.append(trainer.plateau.best))  # type: ignore[method-assign, assign]
    trainer.fit()
    # It gets to full weight in the second epoch and rests throughout the third.
    assert [value > -torch.inf for value in best] == [False, False, True, True]


@pytest.mark.parametrize("step", [4, 10, 14])
def test_their_annealer_is_resumed_by_stepping_it_there(
    build: Build,
    left_behind: LeftBehind,
    uninterrupted: Uninterrupted,
    interrupt_in: InterruptIn,
    tmp_path: Path,
    step: int,
) -> None:
    options = {"max_epochs": 4, "lr_patience": 0, "optimizer": "sgd", "lr": 3.0}
    whole = uninterrupted(Theirs, **options)
    first = build(tmp_path / "run", annealer=Theirs(), **options)
    interrupt_in(first, step)
    interrupted(first)
    theirs = Theirs()
    second = build(tmp_path / "run", annealer=theirs)
    assert theirs.taken == step
    second.fit()
    assert left_behind(second) == whole


@pytest.mark.parametrize("number", [1, 3])
def test_their_annealer_when_an_evaluation_was_interrupted(
    build: Build, left_behind: LeftBehind, uninterrupted: Uninterrupted, tmp_path: Path, number: int
) -> None:
    whole = uninterrupted(Theirs, max_epochs=4)
    first = build(tmp_path / "run", annealer=Theirs(), max_epochs=4)
    interrupt_evaluation(first, number)
    interrupted(first)
    second = build(tmp_path / "run", annealer=Theirs())
    second.fit()
    assert left_behind(second) == whole


def test_an_annealer_with_a_state_gets_its_state_back(
    build: Build, interrupt_in: InterruptIn, tmp_path: Path
) -> None:
    first = build(tmp_path / "run", annealer=LinearAnnealer(100))
    interrupt_in(first, 4)
    interrupted(first)
    annealer = LinearAnnealer(100)
    build(tmp_path / "run", annealer=annealer)
    assert annealer.current_step == 4


# Errors


def test_nothing_to_resume(build: Build, tmp_path: Path) -> None:
    trainer = build(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="has no training state to resume from"):
        trainer.resume()


def test_a_state_of_another_model(build: Build, tmp_path: Path) -> None:
    small = build(tmp_path / "small", max_steps=1)
    small.fit()
    large = build(tmp_path / "large", decoder_hidden_size=9)
    small.run.state_file.rename(large.run.state_file)
    with pytest.raises(ValueError, match="does not fit the model"):
        large.resume()


def test_an_annealer_that_does_not_take_the_state(build: Build, tmp_path: Path) -> None:
    build(tmp_path / "run", annealer=ConstantAnnealer(), max_steps=1).fit()

    class Other(Theirs):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise ValueError(f"not my state: {state}")

    with pytest.raises(ValueError, match=r"not my state: \{'current_step': 1\}"):
        build(tmp_path / "run", annealer=Other())
