"""Remedies: what aggressive encoder updates do, and one of a user's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training.building import Build, evaluation
from textvae.config import TrainingConfig
from textvae.diagnostics import Evaluation
from textvae.losses import StepTerms
from textvae.training import Trainer
from textvae.training.remedies import AggressiveEncoder
from textvae.training.step import LocalBatch


class Watched:
    """Takes the place of a trainer's updates: writes down which, and has losses as scripted."""

    def __init__(self, trainer: Trainer, losses: list[float]) -> None:
        self.parts: list[str | None] = []
        self.batches: list[list[int]] = []
        self._losses = iter(losses)
        trainer.stepper.update = self.update  # type: ignore[method-assign]

    def update(self, local: Any, only: str | None = None) -> Any:
        self.parts.append(only)
        self.batches.append(local.batch.indices.tolist())
        per_sentence = next(self._losses) * local.num_tokens / local.num_sentences
        loss = torch.tensor(per_sentence)
        return StepTerms(loss, loss, loss, loss, {}), None


@pytest.mark.parametrize(
    ("losses", "updates"),
    [
        ([3.0] * 15 + [2.0] * 15 + [1.0] * 20, 50),  # falls all along: as many as allowed
        ([3.0] * 15 + [3.1] * 15 + [1.0] * 15, 30),  # rose over the second fifteen
        ([3.0] * 15 + [1.0] * 15 + [1.5] * 15 + [1.0] * 5, 45),  # rose, if below the first
        ([3.0] * 15 + [4.0] * 7 + [1.0] * 28, 50),  # rose within them only
    ],
)
def test_the_encoder_is_updated_until_its_loss_no_longer_falls(
    build: Build, losses: list[float], updates: int
) -> None:
    trainer = build(aggressive_updates=50)
    remedy = trainer.remedies["aggressive_updates"]
    watched = Watched(trainer, losses)
    remedy.before_step(trainer)
    assert watched.parts == ["encoder"] * updates
    assert len({tuple(indices) for indices in watched.batches}) > 2


def test_its_batches_are_drawn_by_seed_and_step(build: Build) -> None:
    def drawn(name: str, step: int) -> list[list[int]]:
        trainer = build(name, aggressive_updates=5)
        trainer.progress.step = step
        watched = Watched(trainer, [1.0] * 5)
        trainer.remedies["aggressive_updates"].before_step(trainer)
        return watched.batches

    first = drawn("a", 3)
    assert drawn("b", 3) == first
    assert drawn("c", 4) != first


def test_it_ends_for_good_when_mi_stops_rising(build: Build) -> None:
    trainer = build()
    remedy = AggressiveEncoder(TrainingConfig(aggressive_updates=9))
    seen = []
    for mi in (0.5, 0.8, 0.8, 2.0):
        remedy.after_evaluation(trainer, evaluation(mi=mi))
        seen.append(remedy.is_active)
    assert seen == [True, True, False, False]
    resumed = AggressiveEncoder(TrainingConfig(aggressive_updates=9))
    resumed.load_state_dict(remedy.state_dict())
    resumed.before_step(trainer)  # does nothing: no batch is asked for
    assert not resumed.is_active


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_an_update_of_one_part_leaves_the_other_alone(build: Build, part: Any) -> None:
    trainer = build(weight_decay=0.1)
    local = LocalBatch.of(trainer.train, trainer.train.plan(0)[0], trainer.processes)
    trainer.model.train()
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.stepper.update(local, only=part)
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    is_encoder = {name: name.startswith(("encoder.", "head.")) for name in before}
    assert moved == {name for name in before if is_encoder[name] == (part == "encoder")}
    assert len(trainer.stepper.optimizer.state) == len(moved)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_ones_own_remedy_acts_and_its_state_is_kept(build: Build) -> None:
    class Counting:
        def __init__(self) -> None:
            self.steps, self.evaluations = 0, 0

        def before_step(self, trainer: Trainer) -> None:
            self.steps += 1
            trainer.model.decoder.word_dropout = 1 / self.steps

        def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
            self.evaluations += 1

        def state_dict(self) -> dict[str, Any]:
            return dict(vars(self))

        def load_state_dict(self, state: dict[str, Any]) -> None:
            vars(self).update(state)

    for max_epochs in (1, 2):
        remedy = Counting()
        build(max_epochs=max_epochs, remedies={"counting": remedy}).fit()
        assert vars(remedy) == {"steps": 6 * max_epochs, "evaluations": max_epochs}
