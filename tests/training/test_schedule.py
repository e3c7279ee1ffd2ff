"""Tests of `textvae.training.schedule.KLWeight`: what is known of anyone's annealer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from textvae.annealers import LinearAnnealer
from textvae.training.schedule import KLWeight


class Plain:
    """No more than the contract: weights from a list, the last one for good."""

    def __init__(self, weights: list[float]) -> None:
        self.weights, self.taken = weights, 0

    def __call__(self, kl: Any) -> Any:
        return kl * self.weights[min(self.taken, len(self.weights) - 1)]

    def step(self) -> None:
        self.taken += 1


def run_epoch(weight: KLWeight, kls: list[float]) -> None:
    for value in kls:
        weight(torch.tensor(value, requires_grad=True))
        weight.step()


KLS = [3.0, 0.7, 12.5, 1e-3]


def test_ours_is_believed() -> None:
    annealer = LinearAnnealer(6)
    weight = KLWeight(annealer)
    run_epoch(weight, KLS)
    weight.end_epoch()
    assert (weight.value, weight.finished) == (3 / 6, False)  # the last batch's
    run_epoch(weight, [3.0, 3.0])
    assert (weight.value, weight.finished) == (5 / 6, True)  # no epoch's end needed


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
    weight = KLWeight(annealer)
    run_epoch(weight, KLS)
    assert not weight.finished  # known at the epoch's end
    weight.end_epoch()
    assert weight.finished == is_finished
    assert weight.value == pytest.approx(weights[-1])


def test_theirs_may_begin_again() -> None:
    annealer = Plain([0.5] * 4 + [0.6] * 4 + [1.0, 0.9])
    weight = KLWeight(annealer)
    seen = []
    for _ in range(4):
        run_epoch(weight, KLS)
        weight.end_epoch()
        seen.append(weight.finished)
    assert seen == [True, True, False, True]


def test_before_the_first_batch_nothing_is_known() -> None:
    weight = KLWeight(Plain([1.0]))
    weight.end_epoch()
    assert math.isnan(weight.value)
    assert not weight.finished


@pytest.mark.parametrize("told", ["value", "finished"])
def test_theirs_may_tell_either(told: str) -> None:
    annealer = Plain([0.5])
    setattr(annealer, told, 0.75 if told == "value" else False)
    weight = KLWeight(annealer)
    run_epoch(weight, KLS)
    weight.end_epoch()
    assert weight.value == pytest.approx(0.75 if told == "value" else 0.5)
    assert weight.finished == (told == "value")


@pytest.mark.parametrize("weights", [[0.2, 0.4, 0.4, 0.4], [0.4]])
@pytest.mark.parametrize("batches", [0, 2, 4])
def test_continued_from_its_state_it_knows_what_it_knew(weights: list[float], batches: int) -> None:
    annealer = Plain(weights)
    weight, resumed = KLWeight(annealer), KLWeight(Plain(weights))
    run_epoch(weight, KLS[:batches])
    resumed.load_state_dict(weight.state_dict())
    assert str(resumed.value) == str(weight.value)
    for each in (weight, resumed):
        run_epoch(each, KLS[batches:])
        each.end_epoch()
    assert (resumed.value, resumed.finished) == (weight.value, weight.finished)


def test_it_keeps_no_graph() -> None:
    annealer = Plain([0.5])
    weight = KLWeight(annealer)
    run_epoch(weight, KLS)
    assert not weight.state_dict()["applied"].requires_grad
    assert not any(bound.requires_grad for bound in weight.state_dict()["range"])


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
    weight = KLWeight(annealer)
    run_epoch(weight, kls)
    weight.end_epoch()
    assert weight.value == pytest.approx(value, nan_ok=True)
    assert weight.finished == is_finished


def test_an_epoch_of_zeros_leaves_what_was_known() -> None:
    annealer = Plain([0.2, 0.4, 0.4, 0.4, 0.4])
    weight = KLWeight(annealer)
    seen = []
    for kls in ([2.0, 1.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0]):
        run_epoch(weight, kls)
        weight.end_epoch()
        seen.append(weight.finished)
    assert seen == [False, False, True, True]
    assert weight.value == pytest.approx(0.4)


def test_zeros_are_forgotten_by_a_resumed_weight_too() -> None:
    annealer = Plain([0.4])
    weight, resumed = KLWeight(annealer), KLWeight(annealer)
    run_epoch(weight, [0.0])
    resumed.load_state_dict(weight.state_dict())
    run_epoch(resumed, [2.0, 3.0])
    resumed.end_epoch()
    assert resumed.finished
    assert resumed.value == pytest.approx(0.4)
