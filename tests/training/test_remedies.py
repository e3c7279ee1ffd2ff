"""Remedies: what aggressive encoder updates do, and one of a user's own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.draws import draws
from tests.training.building import evaluation, lines
from textvae.config import TrainingConfig
from textvae.diagnostics import Evaluation, evaluate
from textvae.losses import StepTerms
from textvae.training import Remedy, Trainer
from textvae.training.remedies import AggressiveEncoder, AveragedWeights
from textvae.training.step import LocalBatch


def watch(trainer: Trainer, losses: list[float]) -> list[list[int]]:
    """Has encoder updates give these losses per token; gives the sentences of each."""
    batches, values = list[list[int]](), iter(losses)

    def update(local: LocalBatch, only: str) -> Any:
        assert only == "encoder"
        batches.append(local.batch.indices.tolist())
        loss = torch.tensor(next(values) * local.num_tokens / local.num_sentences)
        return StepTerms(loss, loss, loss, loss, {}), None

    trainer.stepper.update = update
    return batches


@pytest.mark.parametrize(
    ("losses", "updates"),
    [
        ([3.0] * 15 + [2.0] * 15 + [1.0] * 20, 50),  # falls all along: as many as allowed
        ([3.0] * 15 + [3.1] * 15 + [1.0] * 15, 30),  # rose over the second fifteen
        ([3.0] * 15 + [1.0] * 15 + [1.5] * 15 + [1.0] * 5, 45),  # rose, if below the first
        ([3.0] * 15 + [4.0] * 7 + [1.0] * 28, 50),  # rose within them only
    ],
)
def test_the_encoder_is_updated_until_its_loss_no_longer_falls(build, losses, updates):
    trainer = build(aggressive_updates=50)
    batches = watch(trainer, losses)
    trainer.remedies["aggressive_updates"].before_step(trainer)
    assert len(batches) == updates
    assert len({tuple(indices) for indices in batches}) > 2


def test_its_batches_are_drawn_by_seed_and_step(build):
    trainer, found = build(aggressive_updates=5), []
    for step in (3, 3, 4):
        trainer.progress.step = step
        found.append(watch(trainer, [1.0] * 5))
        trainer.remedies["aggressive_updates"].before_step(trainer)
    assert found[0] == found[1] != found[2]


def test_it_ends_for_good_when_mi_stops_rising(build):
    trainer, seen = build(), []
    remedy, resumed = (AggressiveEncoder(TrainingConfig(aggressive_updates=9)) for _ in "12")
    for mi in (0.5, 0.8, 0.8, 2.0):
        remedy.after_evaluation(trainer, evaluation(mi=mi))
        seen.append(remedy.is_active)
    assert seen == [True, True, False, False]
    resumed.load_state_dict(remedy.state_dict())
    assert watch(trainer, []) == []
    resumed.before_step(trainer)  # asks for no update


def test_word_dropout_falls_to_0_over_some_epochs(build):
    trainer, seen = build(word_dropout=0.6, word_dropout_epochs=1.5, max_epochs=2), []
    act = lambda: seen.append(trainer.model.decoder.word_dropout)  # noqa: E731
    update = trainer.stepper.update
    trainer.stepper.update = lambda local: (act(), update(local))[1]
    trainer.fit()
    # 1.5 epochs are 9 steps: 0.6 in the first, a ninth less in each, none from the tenth on.
    assert seen == pytest.approx([0.6 * (9 - step) / 9 for step in range(9)] + [0.0] * 3)


def averaging(model: Any, epochs: float) -> tuple[AveragedWeights, Any]:
    """The remedy, on a model whose epochs are of four steps; and its trainer."""
    trainer = SimpleNamespace(model=model, judged=model, train=range(4))
    trainer.progress = SimpleNamespace(decision="better")
    remedy = AveragedWeights(TrainingConfig(average_epochs=epochs))
    remedy.begin(trainer)
    return remedy, trainer


@pytest.mark.parametrize("horizon", [1, 4, 100])
def test_a_mean_of_weights_is_plain_up_to_its_horizon_and_then_fades(horizon):
    model, expected = torch.nn.Linear(3, 2), torch.zeros(2, 3)
    remedy, trainer = averaging(model, horizon / 4)
    for number in range(1, 8):
        torch.nn.init.normal_(model.weight)
        remedy.after_step(trainer)
        share = 1 / min(number, horizon)
        expected = (1 - share) * expected + share * model.weight.detach()
        torch.testing.assert_close(trainer.judged.weight, expected)
    for decision in ("wait", "decay"):  # only then it begins anew
        trainer.progress.decision = decision
        remedy.after_evaluation(trainer, evaluation())
        torch.nn.init.normal_(model.weight)
        remedy.after_step(trainer)
        is_new = torch.equal(trainer.judged.weight, model.weight)
        assert is_new == (decision == "decay" or horizon == 1)


def test_buffers_that_count_are_taken_as_they_are():
    model = torch.nn.BatchNorm1d(2)
    remedy, trainer = averaging(model, 99.0)
    for _ in range(3):
        model(draws(4, 2))
        remedy.after_step(trainer)
    assert trainer.judged.num_batches_tracked == 3


def test_the_mean_is_what_is_judged_and_kept(build):
    trainer, seen = build(average_epochs=99.0, max_epochs=1), []
    update, weights = trainer.stepper.update, trainer.model.head.parameters

    def watched(local: LocalBatch) -> Any:
        found = update(local)
        seen.append([each.detach().clone() for each in weights()])
        return found

    trainer.stepper.update = watched
    trainer.fit()
    kept = trainer.model.from_pretrained(trainer.run.path)
    for found, *steps in zip(kept.head.parameters(), *seen, strict=True):
        torch.testing.assert_close(found, torch.stack(steps).mean(0))
    found = evaluate(kept, trainer.valid.epoch(0), trainer.valid.num_sentences)
    noted = lines(trainer.run, "valid")[0]["elbo"]
    assert found.elbo == pytest.approx(noted, abs=0.1)  # z is drawn
    assert evaluate(trainer.model, trainer.valid.epoch(0), 12).elbo > found.elbo + 0.1  # ahead


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_an_update_of_one_part_leaves_the_other_alone(build, part):
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


def test_ones_own_remedy_acts_and_its_state_is_kept(build):
    class Counting(Remedy):
        def __init__(self) -> None:
            self.steps, self.evaluations = 0, 0

        def before_step(self, trainer: Trainer) -> None:
            self.steps += 1
            trainer.model.decoder.word_dropout = 1 / self.steps

        def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
            self.evaluations += 1

    for max_epochs in (1, 2):
        remedy = Counting()
        build(max_epochs=max_epochs, remedies={"counting": remedy}).fit()
        assert vars(remedy) == {"steps": 6 * max_epochs, "evaluations": max_epochs}
