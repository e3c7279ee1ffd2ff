"""Controllers of the KL weight: by hand, and on a plant whose rate they must hold."""

import math
from collections.abc import Sequence

import pytest

from textvae.annealers import (
    CONTROLLERS,
    FeedbackAnnealer,
    LagrangeAnnealer,
    PIAnnealer,
    build_annealer,
)
from textvae.checks import InputError


def follow(annealer: FeedbackAnnealer, kls: Sequence[float]) -> list[float]:
    """The weights that a controller applies to these KLs, one after the other."""
    weights = []
    for kl in kls:
        weights.append(annealer(kl) / kl)
        annealer.step()
    return [*weights, annealer.value]


def test_a_pi_controller_by_hand():
    # e = 5 - 6 = -1, then 5 - 3 = 2: P = kp / (1 + exp(e)), I = -ki (sum of e).
    betas = follow(PIAnnealer(5.0, kp=0.1, ki=0.2, max_beta=2.0), [6.0, 6.0, 3.0])
    rising = 0.1 / (1 + math.exp(-1))
    falling = 0.1 / (1 + math.exp(2))
    assert betas == pytest.approx([0.0, rising + 0.2, rising + 0.4, falling])


def test_a_pi_controller_comes_back_at_once_from_a_bound():
    annealer = PIAnnealer(5.0, kp=0.0, ki=0.1)
    assert follow(annealer, [9.0] * 50)[-1] == 1.0  # 50 errors would have summed to 20
    annealer(4.0)
    annealer.step()
    assert annealer.value < 1.0


def test_a_lagrange_multiplier_by_hand():
    annealer = LagrangeAnnealer(5.0)
    assert annealer.value == pytest.approx(-0.01)
    # RMSprop: the first step is lr g / sqrt(0.01 g^2) = 10 lr, away from a KL that is too small.
    assert follow(annealer, [3.0])[-1] == pytest.approx(-0.01 - 0.01)
    square = 0.99 * 0.01 * 2.0**2 + 0.01 * 1.0**2
    assert follow(annealer, [6.0])[-1] == pytest.approx(-0.02 + 1e-3 / math.sqrt(square))
    assert follow(annealer, [6.0] * 10_000)[-1] == 1.0  # the multiplier is never negative
    assert math.isfinite(follow(LagrangeAnnealer(1e308), [3.0])[-1])


def test_bounds_that_leave_no_weight_are_refused():
    with pytest.raises(InputError, match=r"max_beta must be in \[2.0, inf\), got 1.0"):
        PIAnnealer(5.0, min_beta=2.0)


def test_a_controller_shows_its_weight():
    shown = "PIAnnealer(target=5.0, warmup_steps=0, value=0.0, current_step=0, min_beta=0.0, "
    assert repr(PIAnnealer(5.0)) == f"{shown}max_beta=1.0, kp=0.01, ki=0.0001)"


@pytest.mark.parametrize("name", CONTROLLERS)
def test_controllers_hold_the_rate_and_resume(name):
    """A plant whose KL falls as its weight rises: at 5 nats, the weight is 0.5."""

    def run(annealer: FeedbackAnnealer, steps: int) -> float:
        for _ in range(steps):
            annealer(10.0 * (1 - annealer.value))
            annealer.step()
        return annealer.value

    def build() -> FeedbackAnnealer:
        return build_annealer(name, warmup_steps=3, target_rate=5.0)

    whole = build()
    assert not whole.finished
    assert run(whole, 20_000) == pytest.approx(0.5, abs=0.02)
    assert whole.finished
    first = build()
    run(first, 700)
    rest = build()
    rest.load_state_dict(first.state_dict())
    assert run(rest, 900) == run(first, 900)
    with pytest.raises(InputError, match="state must be a mapping with the keys"):
        rest.load_state_dict({"value": 1.0})
