"""What changes in the course of a training: learning rate and end, and KL weight."""

import math

import pytest
import torch

from tests.training.building import Theirs
from textvae.annealers import ANNEALERS, LinearAnnealer
from textvae.config import TrainingConfig
from textvae.training import Plateau
from textvae.training.schedule import KLWeight, configured_annealer
from textvae.training.step import RunningMeans


@pytest.mark.parametrize(
    ("arguments", "elbos", "said"),
    [
        # The first is the best so far, and only more is better.
        ((9, 9), [-9, -8, -8, -8.5, -7.9], "better better wait wait better"),
        # Patience is the number of evaluations waited before a decay.
        ((2, 9), [-5, *[-6] * 6], "better wait wait decay wait wait decay"),
        # Without patience every evaluation that is no better decays.
        ((0, 2), [-5, -6, -4, -6, -6], "better decay better decay stop"),
        # After the last decay there is patience once more, then the rate is exhausted.
        ((1, 1), [-5, -6, -6, -6, -6], "better wait decay wait stop"),
        # A better one after a decay starts the waiting anew, not the decays.
        ((1, 1), [-5, -6, -6, -4, -6, -6], "better wait decay better wait stop"),
        ((2, 1), [-5, -6, -4, -6, -6, -6], "better wait better wait wait decay"),
        # Without decays patience alone decides.
        ((1, 0), [-5, -6, -6], "better wait stop"),
        # Early stopping counts from the best one, decays or not, and anew from a better one.
        ((0, 9, 3), [-5, -6, -6, -6], "better decay decay stop"),
        ((9, 9, 2), [-5, -6, -4, -6, -6], "better wait better wait stop"),
        # With a threshold only a gain of that share is better, since the last that was.
        ((1, 9, None, 0.25), [-16, -12.5, -11, -8.5, -8.25], "better wait better wait decay"),
        ((0, 9, 9, 0.5), [-16, -8, -7], "better decay better"),
        # An ELBO that is no number is no better.
        ((0, 9), [-5, math.nan, -math.inf, -4], "better decay decay better"),
    ],
)
def test_verdicts(arguments, elbos, said):
    plateau = Plateau(*arguments)
    assert [plateau.update(elbo) for elbo in elbos] == said.split()


def test_running_means_are_weighed_and_begin_anew():
    means, resumed = RunningMeans(), RunningMeans()
    means.add({"kl": torch.tensor(2.0, requires_grad=True)}, 3)
    means.add({"kl": torch.tensor(6.0), "norm": torch.tensor(5.0)})
    resumed.load_state_dict(means.state_dict())
    assert means.read() == resumed.read() == {"kl": 3.0, "norm": 5.0}
    resumed.add({"kl": torch.tensor(7.0)}, 2)
    assert (means.read(), resumed.read()) == ({}, {"kl": 7.0})


def run_epoch(weight: KLWeight, kls: list[float]) -> None:
    for value in kls:
        weight(torch.tensor(value, requires_grad=True))
        weight.step()


KLS = [3.0, 0.7, 12.5, 1e-3]


def test_ours_is_believed():
    weight = KLWeight(LinearAnnealer(6))
    assert (weight.value, weight.finished) == (0, False)
    run_epoch(weight, KLS)
    weight.end_epoch()
    assert (weight.value, weight.finished) == (3 / 6, False)  # the last batch's
    run_epoch(weight, [3.0, 3.0])
    assert (weight.value, weight.finished) == (5 / 6, True)  # no epoch's end needed


@pytest.mark.parametrize(
    ("weights", "kls", "value", "is_finished"),
    [
        ([0.0, 0.2, 0.4, 0.6], KLS, 0.6, False),  # rises
        ([0.6, 0.4, 0.4, 0.4], KLS, 0.4, False),  # changed in the epoch
        ([0.4, 0.4, 0.4, 0.4001], KLS, 0.4001, False),
        ([0.3], KLS, 0.3, True),  # rests, at whatever weight
        ([1.0], KLS, 1.0, True),
        ([0.0], KLS, 0.0, True),
        # A KL of 0, where free bits mask all of it, tells nothing of the weight.
        ([0.4], [0.0, 2.0, 0.0, 3.0], 0.4, True),  # first of all, and in between
        ([0.2, 0.4, 0.4, 0.4], [0.0, 2.0, 1.0, 3.0], 0.4, True),  # as far as can be seen
        ([0.2, 0.4], [2.0, 1.0, 0.0, 0.0], 0.4, False),  # the last one known
        ([0.2, 0.3, 0.4, 0.5], [2.0, 0.0, 0.0, 1.0], 0.5, False),
        ([0.4], [0.0] * 4, math.nan, False),  # nothing known, nothing finished
        ([0.4], [], math.nan, False),
    ],
)
@pytest.mark.parametrize("resumed_after", [None, 0, 2, 4])
def test_theirs_is_finished_after_an_epoch_alike(weights, kls, value, is_finished, resumed_after):
    weight = KLWeight(Theirs(weights))
    if resumed_after is not None:
        first, weight = weight, KLWeight(Theirs(weights))
        run_epoch(first, kls[:resumed_after])
        weight.load_state_dict(first.state_dict())
        assert str(weight.value) == str(first.value)
        kls = kls[resumed_after:]
    run_epoch(weight, kls)
    assert not weight.finished  # known at the epoch's end
    weight.end_epoch()
    assert weight.finished == is_finished
    assert weight.value == pytest.approx(value, nan_ok=True)


def test_theirs_may_begin_again_and_an_epoch_of_zeros_leaves_what_was_known():
    weight, seen = KLWeight(Theirs([0.5] * 4 + [0.6] * 4 + [0.6] * 4 + [1.0, 0.9])), []
    for kls in (KLS, KLS, [0.0] * 4, KLS, [0.0], KLS, [0.0]):
        run_epoch(weight, kls)
        weight.end_epoch()
        seen.append(weight.finished)
    assert seen == [True, True, True, False, False, True, True]


@pytest.mark.parametrize("told", ["value", "finished"])
def test_theirs_may_tell_either(told):
    annealer = Theirs([0.5])
    setattr(annealer, told, 0.75 if told == "value" else False)
    weight = KLWeight(annealer)
    run_epoch(weight, KLS)
    weight.end_epoch()
    assert weight.value == pytest.approx(0.75 if told == "value" else 0.5)
    assert weight.finished == (told == "value")


@pytest.mark.parametrize("name", sorted(ANNEALERS))
def test_the_configured_schedule_is_full_after_its_epochs(name):
    config = TrainingConfig(annealer=name, warmup_epochs=2.5, max_beta=0.8, num_cycles=3)
    annealer = configured_annealer(config, 6)
    assert type(annealer) is type(ANNEALERS[name](3))
    assert annealer.value_at(15) == 0.8  # 2.5 epochs of six steps
    assert (annealer.value_at(0) == 0) == (name != "constant")
