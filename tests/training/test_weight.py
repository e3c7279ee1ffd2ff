"""Tests of `textvae.training.weight`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from textvae.annealers import LinearAnnealer
from textvae.training.weight import WeightWatch


class Plain:
    """No more than the contract: weights from a list, the last one for good."""

    def __init__(self, weights: list[float]) -> None:
        self.weights, self.taken = weights, 0

    def __call__(self, kl: Any) -> Any:
        return kl * self.weights[min(self.taken, len(self.weights) - 1)]

    def step(self) -> None:
        self.taken += 1


def run_epoch(watch: WeightWatch, annealer: Any, kls: list[float]) -> None:
    for value in kls:
        kl = torch.tensor(value, requires_grad=True)
        watch.observe(kl, annealer(kl))
        annealer.step()


KLS = [3.0, 0.7, 12.5, 1e-3]


def test_ours_is_believed() -> None:
    annealer = LinearAnnealer(6)
    watch = WeightWatch(annealer)
    run_epoch(watch, annealer, KLS)
    watch.end_epoch()
    assert (watch.value, watch.finished) == (4 / 6, False)
    run_epoch(watch, annealer, [3.0, 3.0])
    assert (watch.value, watch.finished) == (1, True)  # no epoch's end needed


@pytest.mark.parametrize(
    ("weights", "is_finished"),
    [
        ([0.0, 0.2, 0.4, 0.6], False),  # rises
        ([0.6, 0.4, 0.4, 0.4], False),  # changed in the epoch
        ([0.4, 0.4, 0.4, 0.4001], False),
        ([0.3], True),  # rests, at whatever weight
        ([1.0], True),
        ([0.0], True),
    ],
)
def test_theirs_is_finished_when_its_weight_stays_for_an_epoch(
    weights: list[float], is_finished: bool
) -> None:
    annealer = Plain(weights)
    watch = WeightWatch(annealer)
    run_epoch(watch, annealer, KLS)
    assert not watch.finished  # known at the epoch's end
    watch.end_epoch()
    assert watch.finished == is_finished
    assert watch.value == pytest.approx(weights[-1])


def test_theirs_may_begin_again() -> None:
    annealer = Plain([0.5] * 4 + [0.6] * 4 + [1.0, 0.9])
    watch = WeightWatch(annealer)
    seen = []
    for _ in range(4):
        run_epoch(watch, annealer, KLS)
        watch.end_epoch()
        seen.append(watch.finished)
    assert seen == [True, True, False, True]


def test_before_the_first_batch_nothing_is_known() -> None:
    watch = WeightWatch(Plain([1.0]))
    watch.end_epoch()
    assert math.isnan(watch.value)
    assert not watch.finished


@pytest.mark.parametrize("told", ["value", "finished"])
def test_theirs_may_tell_either(told: str) -> None:
    annealer = Plain([0.5])
    setattr(annealer, told, 0.75 if told == "value" else False)
    watch = WeightWatch(annealer)
    run_epoch(watch, annealer, KLS)
    watch.end_epoch()
    assert watch.value == pytest.approx(0.75 if told == "value" else 0.5)
    assert watch.finished == (told == "value")


@pytest.mark.parametrize("weights", [[0.2, 0.4, 0.4, 0.4], [0.4]])
@pytest.mark.parametrize("batches", [0, 2, 4])
def test_continued_from_its_state_it_knows_what_it_knew(weights: list[float], batches: int) -> None:
    annealer = Plain(weights)
    watch, resumed = WeightWatch(annealer), WeightWatch(annealer)
    run_epoch(watch, annealer, KLS[:batches])
    resumed.load_state_dict(watch.state_dict())
    assert str(resumed.value) == str(watch.value)
    taken = annealer.taken
    for each in (watch, resumed):
        annealer.taken = taken
        run_epoch(each, annealer, KLS[batches:])
        each.end_epoch()
    assert (resumed.value, resumed.finished) == (watch.value, watch.finished)


def test_it_keeps_no_graph() -> None:
    annealer = Plain([0.5])
    watch = WeightWatch(annealer)
    run_epoch(watch, annealer, KLS)
    assert not watch.state_dict()["last"].requires_grad
    assert not any(bound.requires_grad for bound in watch.state_dict()["range"])


# A KL of 0, where free bits mask all of it, tells nothing of the weight.


@pytest.mark.parametrize(
    ("weights", "kls", "value", "is_finished"),
    [
        ([0.4], [0.0, 2.0, 0.0, 3.0], 0.4, True),  # first of all, and in between
        ([0.2, 0.4, 0.4, 0.4], [0.0, 2.0, 1.0, 3.0], 0.4, True),  # as far as can be seen
        ([0.2, 0.4], [2.0, 1.0, 0.0, 0.0], 0.4, False),  # the last one known
        ([0.2, 0.3, 0.4, 0.5], [2.0, 0.0, 0.0, 1.0], 0.5, False),
        ([0.4], [0.0, 0.0, 0.0, 0.0], math.nan, False),  # nothing known, nothing finished
    ],
)
def test_a_kl_of_0_is_not_counted(
    weights: list[float], kls: list[float], value: float, is_finished: bool
) -> None:
    annealer = Plain(weights)
    watch = WeightWatch(annealer)
    run_epoch(watch, annealer, kls)
    watch.end_epoch()
    assert watch.value == pytest.approx(value, nan_ok=True)
    assert watch.finished == is_finished


def test_an_epoch_of_zeros_leaves_what_was_known() -> None:
    annealer = Plain([0.2, 0.4, 0.4, 0.4, 0.4])
    watch = WeightWatch(annealer)
    seen = []
    for kls in ([2.0, 1.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0]):
        run_epoch(watch, annealer, kls)
        watch.end_epoch()
        seen.append(watch.finished)
    assert seen == [False, False, True, True]
    assert watch.value == pytest.approx(0.4)


def test_zeros_are_forgotten_by_a_resumed_watch_too() -> None:
    annealer = Plain([0.4])
    watch, resumed = WeightWatch(annealer), WeightWatch(annealer)
    run_epoch(watch, annealer, [0.0])
    resumed.load_state_dict(watch.state_dict())
    run_epoch(resumed, annealer, [2.0, 3.0])
    resumed.end_epoch()
    assert resumed.finished
    assert resumed.value == pytest.approx(0.4)
