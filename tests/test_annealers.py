"""The KL weight: hand-made tables, one contract for every annealer, and every refusal."""

import copy
import json
import math
import pickle
import re
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from textvae.annealers import (
    ANNEALERS,
    CONTROLLERS,
    ConstantAnnealer,
    CosineAnnealer,
    CyclicalAnnealer,
    FeedbackAnnealer,
    KLAnnealer,
    LagrangeAnnealer,
    LinearAnnealer,
    PIAnnealer,
    ScheduledAnnealer,
    SigmoidAnnealer,
    build_annealer,
    cosine_annealing,
    cyclical_annealing,
    linear_annealing,
    sigmoid_annealing,
)
from textvae.checks import InputError
from textvae.interop.vae_annealing import Annealer

counts = st.integers(0, 10**9)
lengths = st.integers(1, 10**9)
ratios = st.floats(0, 1, exclude_min=True)

# Name: (a fresh annealer, its weight at step 0, its highest weight, steps until it is finished).
CASES: dict[str, tuple[Callable[[], ScheduledAnnealer], float, float, int | None]] = {
    "constant": (lambda: ConstantAnnealer(0.3), 0.3, 0.3, 0),
    "linear": (lambda: LinearAnnealer(7, 0.9), 0.0, 0.9, 7),
    "linear at once": (lambda: LinearAnnealer(0), 1.0, 1.0, 0),
    "sigmoid": (lambda: SigmoidAnnealer(7, 2.0), 0.0, 2.0, 7),
    "sigmoid steep": (lambda: SigmoidAnnealer(9, k=30), 0.0, 1.0, 9),
    "cosine": (lambda: CosineAnnealer(7, 0.7), 0.0, 0.7, 7),
    "cycles": (lambda: CyclicalAnnealer(6, 2, max_beta=0.7), 0.0, 0.7, 9),
    "cycles, sigmoid": (lambda: CyclicalAnnealer(6, 2, shape="sigmoid"), 0.0, 1.0, 9),
    "cycles, all rise": (lambda: CyclicalAnnealer(5, 2, ratio=1.0), 0.0, 1.0, 9),
    "cycles, uneven": (lambda: CyclicalAnnealer(num_cycles=3, total_steps=11), 0.0, 1.0, 9),
    "cycles at once": (lambda: CyclicalAnnealer(num_cycles=3, total_steps=0), 1.0, 1.0, 0),
    "cycles forever": (lambda: CyclicalAnnealer(4), 0.0, 1.0, None),
    "package linear": (lambda: Annealer(6), 0.0, 1.0, 6),
    "package cosine": (lambda: Annealer(6, "cosine", 0.1), 0.1, 1.0, 6),
    "package logistic": (lambda: Annealer(6, "logistic", 0.2), 0.2, 1.0, 6),
    "package cyclical": (lambda: Annealer(4, cyclical=True), 0.0, 0.75, None),
    "package disabled": (lambda: Annealer(4, baseline=0.3, disable=True), 1.0, 1.0, 0),
}
STEPS = 30  # more than any case needs to finish, or to go through several cycles


def fresh(case: str) -> ScheduledAnnealer:
    return CASES[case][0]()


def after(annealer: ScheduledAnnealer, steps: int) -> ScheduledAnnealer:
    for _ in range(steps):
        annealer.step()
    return annealer


def weights(annealer: ScheduledAnnealer, steps: int) -> list[float]:
    """The weights that a training of so many steps applies."""
    applied = []
    for _ in range(steps):
        applied.append(annealer(1.0))
        annealer.step()
    return applied


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (linear_annealing(0, 10), 0.0),  # the first batch is free of KL
        (linear_annealing(1, 10), 0.1),  # one step, one tenth
        (linear_annealing(5, 10, 4.0), 2.0),  # half-way, scaled by max_beta
        (linear_annealing(10, 10), 1.0),  # full exactly at its end
        (linear_annealing(0, 0, 0.5), 0.5),  # no warm-up: full from the first step
        (sigmoid_annealing(0, 100), 1 / (1 + math.exp(5))),  # x = -k / 2: 0.0067, not 0
        (sigmoid_annealing(50, 100, 0.5), 0.25),  # half-way: x = 0
        (sigmoid_annealing(60, 100), 1 / (1 + math.exp(-1))),  # a k-th of the warm-up later: x = 1
        (sigmoid_annealing(200, 100), 1 / (1 + math.exp(-15))),  # it rises on after the warm-up
        (sigmoid_annealing(10**9, 1), 1.0),  # far beyond, where exp(x) would overflow
        (sigmoid_annealing(0, 10**9, k=5000), 0.0),  # far below, where exp(-x) would overflow
        (sigmoid_annealing(0, 0), 1.0),  # no warm-up: full from the first step
        (cosine_annealing(0, 6), 0.0),  # cos 0 = 1
        (cosine_annealing(1, 6), (1 - math.sqrt(3) / 2) / 2),  # cos 30°
        (cosine_annealing(2, 6), 0.25),  # cos 60° = 1/2
        (cosine_annealing(6, 6, 0.3), 0.3),  # cos 180° = -1
        (cosine_annealing(7, 6, 0.3), 0.3),  # it does not come down again
        (cosine_annealing(0, 0, 0.3), 0.3),  # no warm-up: full from the first step
        (cyclical_annealing(0, 10), 0.0),  # a cycle starts at 0
        (cyclical_annealing(2, 10), 0.4),  # rises over 5 of its 10 steps
        (cyclical_annealing(5, 10), 1.0),  # is full from the end of the rise
        (cyclical_annealing(9, 10, max_beta=0.5), 0.5),  # to its last step
        (cyclical_annealing(10, 10), 0.0),  # and starts again
        (cyclical_annealing(1, 10, 0.29), 0.5),  # a rise of 2.9 steps is one of 2
        (cyclical_annealing(0, 10, 0.05), 1.0),  # a rise of half a step is none
        (cyclical_annealing(9, 10, 1.0), 0.9),  # rising all the time, it never gets there
        (cyclical_annealing(2500), 0.5),  # by default, half of 10,000 steps rise
    ],
)
def test_closed_forms_by_hand(weight, expected):
    assert weight == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("case", CASES)
def test_contract_weights_are_value_at_the_steps_taken(case):
    make, first, highest, end = CASES[case]
    annealer = make()
    assert isinstance(annealer, KLAnnealer)
    assert not isinstance(lambda kl: kl, KLAnnealer)  # it can't be stepped
    planned = [annealer.value_at(step) for step in range(STEPS)]
    assert annealer.current_step == 0  # looking ahead moves nothing
    for step, weight in enumerate(planned):
        assert annealer(1.0) == annealer.value == weight
        assert annealer.value_at(annealer.current_step) == weight
        assert annealer.finished is (end is not None and step >= end)
        annealer.step()
    assert [annealer.value_at(step) for step in range(STEPS)] == planned
    assert min(planned) == planned[0] == first  # end points are exact
    assert max(planned) == highest
    if end is not None:
        assert set(planned[end:]) == {highest}
        assert end == 0 or planned[end - 1] < highest


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [0, 1, 5, STEPS])
def test_contract_state_round_trip(case, steps):
    annealer = after(fresh(case), steps)
    state = json.loads(json.dumps(annealer.state_dict()))
    resumed = fresh(case)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == annealer.state_dict() == state
    assert resumed.finished is annealer.finished
    snapshot = annealer.state_dict()
    assert weights(resumed, STEPS) == weights(annealer, STEPS)
    assert snapshot == state


@pytest.mark.parametrize("case", CASES)
def test_contract_multiplies_tensors(case):
    annealer = after(fresh(case), 2)
    kl = torch.tensor([2.0, 4.0], requires_grad=True)
    weighted = annealer(kl)
    torch.testing.assert_close(weighted, kl.detach() * annealer.value)
    weighted.sum().backward()
    torch.testing.assert_close(kl.grad, torch.full((2,), annealer.value))
    assert kl.dtype == weighted.dtype


@pytest.mark.parametrize("case", CASES)
def test_contract_repr_copies_and_pickles(case):
    annealer = after(fresh(case), 3)
    assert re.fullmatch(rf"{type(annealer).__name__}\([a-z].*\)", repr(annealer))
    assert f"current_step={annealer.current_step}" in repr(annealer)
    assert repr(fresh(case)).count("current_step=0") == 1
    for twin in (copy.deepcopy(annealer), pickle.loads(pickle.dumps(annealer))):
        assert repr(twin) == repr(annealer)
        assert twin.value == annealer.value


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ({"step": 3}, ValueError, r"the keys .* got \{'step': 3\}"),  # someone else's state
        ({"current_step": 3, "beta": 1.0, "cyclical": True}, ValueError, "the keys"),  # too much
        (None, ValueError, "must be a mapping .* got None"),
        (-1, ValueError, "current_step must be at least 0, got -1"),
        (True, TypeError, "current_step must be an integer, got True"),
    ],
)
def test_contract_malformed_state_changes_nothing(case, broken, error, message):
    annealer = after(fresh(case), 2)
    before = repr(annealer)
    if isinstance(broken, int):
        broken = {**annealer.state_dict(), "current_step": broken}
    with pytest.raises(error, match=message):
        annealer.load_state_dict(broken)
    assert repr(annealer) == before


@pytest.mark.parametrize("case", CASES)
def test_contract_value_at_refuses(case):
    with pytest.raises(InputError, match="step must be at least 0, got -1"):
        fresh(case).value_at(-1)
    with pytest.raises(TypeError, match=r"step must be an integer, got 1\.0"):
        fresh(case).value_at(1.0)


@given(lengths, st.integers(0, 10**9), st.floats(1e-6, 1e6))
def test_sigmoid_class_is_the_closed_form_stretched(warmup, step, k):
    step = min(step, warmup)
    low, high = sigmoid_annealing(0, warmup, k=k), sigmoid_annealing(warmup, warmup, k=k)
    expected = (sigmoid_annealing(step, warmup, k=k) - low) / (high - low)
    # The closed form loses digits where k is small, so that the oracle is the coarser of the two.
    assert SigmoidAnnealer(warmup, k=k).value_at(step) == pytest.approx(
        expected, abs=1e-14 + 1e-15 / k
    )


@given(lengths, counts, st.floats(0, 1e300))
@pytest.mark.parametrize("kind", [LinearAnnealer, SigmoidAnnealer, CosineAnnealer])
def test_warmups_rise_between_exact_ends_at_any_length(kind, warmup_steps, step, max_beta):
    annealer = kind(warmup_steps, max_beta)
    assert annealer.value_at(0) == 0.0
    assert annealer.value_at(warmup_steps) == annealer.value_at(warmup_steps + step) == max_beta
    assert 0 <= annealer.value_at(step) <= annealer.value_at(step + 1) <= max_beta
    closed_form = {LinearAnnealer: linear_annealing, CosineAnnealer: cosine_annealing}.get(kind)
    if closed_form is not None:
        assert annealer.value_at(step) == closed_form(step, warmup_steps, max_beta)


@pytest.mark.parametrize(
    ("annealer", "expected"),
    [
        # half of four steps rises, half is full; full after two cycles, or without end
        (CyclicalAnnealer(4, 2), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1]),
        (CyclicalAnnealer(4), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0, 0.5]),
        # rising all the time, the last step of a cycle is still full
        (CyclicalAnnealer(3, 2, ratio=1.0), [0, 0.5, 1, 0, 0.5, 1, 1]),
        (CyclicalAnnealer(1, ratio=1.0), [1, 1, 1]),  # there is room for full weight only
        (CyclicalAnnealer(4, 2, ratio=0.2), [1, 1, 1, 1, 1]),  # a rise of less than a step is none
        # 10 steps in 3 cycles: of 3, 3 and 4 steps, and never short of the end
        (
            CyclicalAnnealer(num_cycles=3, total_steps=10, ratio=1.0),
            [0, 0.5, 1, 0, 0.5, 1, 0, 1 / 3, 2 / 3, 1, 1, 1],
        ),
        # the quarter and three quarters of half a cosine wave
        (
            CyclicalAnnealer(8, 1, shape="cosine", max_beta=2.0),
            [0, 1 - math.sqrt(0.5), 1, 1 + math.sqrt(0.5), 2, 2, 2, 2, 2],
        ),
        (CyclicalAnnealer(20, shape="sigmoid"), weights(SigmoidAnnealer(10), 20)),
        # both ways of giving the length
        (CyclicalAnnealer(num_cycles=3, total_steps=18), weights(CyclicalAnnealer(6, 3), 25)),
    ],
)
def test_cycles_table(annealer, expected):
    assert weights(annealer, len(expected)) == pytest.approx(expected)


@given(st.integers(1, 60), st.integers(1, 12), ratios, st.sampled_from(["linear", "cosine"]))
def test_every_cycle_reaches_full_weight(total_steps, num_cycles, ratio, shape):
    num_cycles = min(num_cycles, total_steps)
    annealer = CyclicalAnnealer(
        num_cycles=num_cycles, total_steps=total_steps, ratio=ratio, shape=shape, max_beta=0.7
    )
    applied = weights(annealer, total_steps)
    starts = [cycle * total_steps // num_cycles for cycle in range(num_cycles)]
    for start, end in zip(starts, [*starts[1:], total_steps], strict=True):
        cycle = applied[start:end]
        assert cycle[-1] == 0.7
        assert cycle == sorted(cycle)
        assert cycle[0] in (0.0, 0.7)


@pytest.mark.parametrize(
    ("shape", "baseline", "expected"),
    [
        ("linear", 0.0, [0, 0.25, 0.5, 0.75, 1, 1]),  # full weight after total_steps, then held
        ("linear", 0.2, [0.2, 0.4, 0.6, 0.8, 1, 1]),  # from the baseline up
        ("linear", 1.0, [1, 1, 1, 1, 1, 1]),  # a baseline of 1 leaves nothing to anneal
        ("cosine", 0.0, [0, 0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125), 1, 1]),
    ],
)
def test_package_table(shape, baseline, expected):
    assert weights(Annealer(4, shape, baseline), 6) == pytest.approx(expected)


def test_package_logistic_is_one_per_step_steep():
    annealer = Annealer(100, "logistic")
    for step in range(101):
        assert annealer.value_at(step) == pytest.approx(1 / (1 + math.exp(50 - step)), abs=1e-15)


SHAPES = st.sampled_from(["linear", "cosine", "logistic"])


@given(lengths, counts, SHAPES, st.floats(0, 1), st.booleans())
@example(1420, 0, "logistic", 0.1, False)  # from here on the package's own overflows
def test_package_stays_between_baseline_and_1(total_steps, step, shape, baseline, cyclical):
    annealer = Annealer(total_steps, shape, baseline, cyclical)
    assert annealer.value_at(0) == baseline
    assert baseline <= annealer.value_at(step) <= 1.0
    annealer.set_cyclical(False)
    assert annealer.value_at(total_steps) == 1.0


@pytest.mark.parametrize(("cyclical", "counter"), [(False, [1, 2, 3, 3]), (True, [1, 2, 0, 1])])
def test_package_counter_stops_or_starts_again(cyclical, counter):
    annealer = Annealer(3, cyclical=cyclical)
    assert [after(annealer, 1).current_step for _ in counter] == counter


def test_package_cycles_can_be_switched_off_and_on():
    annealer = Annealer(2, cyclical=True)
    assert weights(annealer, 3) == [0, 0.5, 0]  # cycling
    annealer.set_cyclical(False)
    assert weights(annealer, 3) == [0.5, 1, 1]  # goes on from where it is, and holds
    assert annealer.finished
    annealer.cyclical_setter(True)
    assert not annealer.finished
    assert annealer.value == 1.0  # the coming batch still sees the weight that was held
    assert annealer.value_at(annealer.current_step) == 0.0  # a fresh one would have started again
    assert weights(annealer, 4) == [1, 0, 0.5, 0]


def test_package_state_holds_the_switch():
    annealer = Annealer(2, cyclical=True)
    annealer.set_cyclical(False)
    resumed = Annealer(2, cyclical=True)
    resumed.load_state_dict(annealer.state_dict())
    assert weights(resumed, 4) == [0, 0.5, 1, 1]
    with pytest.raises(TypeError, match="cyclical must be True or False, got 1"):
        resumed.load_state_dict({"current_step": 0, "cyclical": 1})
    assert resumed.current_step == 2


def test_package_disabled_returns_its_argument():
    kl = object()
    assert after(Annealer(4, baseline=0.5, disable=True), 3)(kl) is kl


@pytest.mark.parametrize("name", ANNEALERS)
@pytest.mark.parametrize("warmup_steps", [0, 12])
def test_build_makes_each_by_name(name, warmup_steps):
    annealer = build_annealer(name, warmup_steps=warmup_steps, max_beta=0.5)
    assert type(annealer) is ANNEALERS[name]
    assert after(annealer, warmup_steps).finished
    assert annealer.value == 0.5


def test_build_fills_the_warmup_with_cycles():
    annealer = build_annealer("cyclical", warmup_steps=8, num_cycles=2, cycle_ratio=0.25)
    assert weights(annealer, 10) == [0, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    least = build_annealer("cyclical", warmup_steps=4, num_cycles=4)
    assert weights(least, 5) == [1] * 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_annealing(-1, 5), "^step must be at least 0, got -1"),
        (lambda: linear_annealing(1, -5), "warmup_steps must be at least 0, got -5"),
        (lambda: linear_annealing(1, 5, -1.0), r"max_beta must be in \[0, inf\)"),
        (lambda: cosine_annealing(1, 5, -0.1), r"max_beta .* got -0\.1"),
        (lambda: sigmoid_annealing(-1, 5), "^step must be at least 0, got -1"),
        (lambda: sigmoid_annealing(1, -1), "warmup_steps must be at least 0, got -1"),
        (lambda: sigmoid_annealing(1, 5, k=0), r"k must be in \[1e-6, inf\), got 0"),
        (lambda: cyclical_annealing(-1), "^step must be at least 0, got -1"),
        (lambda: cyclical_annealing(1, 0), "cycle_length must be at least 1, got 0"),
        (lambda: cyclical_annealing(1, 9, 1.7), r"ratio .* got 1\.7"),
        (lambda: cyclical_annealing(1, 9, 0.5, -1), "max_beta .* got -1"),
        (lambda: ConstantAnnealer(-1), r"^beta must be in \[0, inf\), got -1"),
        (lambda: CosineAnnealer(2, math.nan), "max_beta .* got nan"),
        (lambda: SigmoidAnnealer(2, k=-1), "k must be .* got -1"),
        (lambda: CyclicalAnnealer(), r"exactly one .* got \(None, None\)"),
        (lambda: CyclicalAnnealer(5, 2, total_steps=10), r"one .* got \(5, 10\)"),
        (lambda: CyclicalAnnealer(0), "cycle_length must be at least 1, got 0"),
        (lambda: CyclicalAnnealer(5, 0), "num_cycles must be at least 1, got 0"),
        (lambda: CyclicalAnnealer(total_steps=-9, num_cycles=3), "total_steps must be .* got -9"),
        (lambda: CyclicalAnnealer(total_steps=2, num_cycles=3), "at least 1 and at most 2, got 3"),
        (lambda: CyclicalAnnealer(5, ratio=0), r"ratio must be in \(0, 1\], got 0"),
        (lambda: CyclicalAnnealer(5, shape="logistic"), "shape must be .* sigmoid, got 'logistic'"),
        (lambda: Annealer(0), "total_steps must be at least 1, got 0"),
        (lambda: Annealer(10, "sigmoid"), "shape must be .* cosine, logistic, got 'sigmoid'"),
        (lambda: Annealer(10, baseline=1.7), r"baseline must be in \[0, 1\], got 1\.7"),
        (lambda: build_annealer("logistic", warmup_steps=5), "sigmoid, .*, got 'logistic'"),
        (
            lambda: build_annealer("cyclical", warmup_steps=3, num_cycles=4),
            r"warmup_steps must be 0 or at least num_cycles, 4, got 3; .* \(--warmup-epochs\)",
        ),
        # wrong types
        (lambda: linear_annealing(0.5, 5), "^step must be an integer, got 0.5"),
        (lambda: linear_annealing(1, True), "warmup_steps must be an integer, got True"),
        (lambda: ConstantAnnealer("1"), "^beta must be a number, got '1'"),
        (lambda: CyclicalAnnealer(total_steps=9), "num_cycles must be .* got None"),
        (lambda: Annealer(10, cyclical=1), "cyclical must be True or False, got 1"),
        (lambda: Annealer(10, disable="no"), "disable must be True or False, got 'no'"),
        (lambda: Annealer(10).set_cyclical(0), "value must be True or False, got 0"),
    ],
)
def test_wrong_values_and_types_are_refused(call, message):
    is_type = any(
        kind in message for kind in ("an integer", "a number", "True or False", "got None")
    )
    with pytest.raises(TypeError if is_type else InputError, match=message):
        call()


def test_integers_of_torch_are_integers():
    assert linear_annealing(torch.tensor(3), 4) == 0.75
    assert type(linear_annealing(torch.tensor(3), 4)) is float


# Controllers


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


def test_a_controller_shows_its_weight():
    shown = "PIAnnealer(target=5.0, warmup_steps=0, value=0.0, current_step=0, min_beta=0.0, "
    assert repr(PIAnnealer(5.0)) == f"{shown}max_beta=1.0, kp=0.01, ki=0.0001)"


def test_a_schedule_is_drawn(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    (line,) = LinearAnnealer(4, 2.0).plot().lines
    assert line.get_ydata().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    assert len(CyclicalAnnealer(10).plot(7).lines[0].get_ydata()) == 8
    assert len(CyclicalAnnealer(10).plot().lines[0].get_ydata()) == 1001  # it never rests
    pyplot.close("all")


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


@pytest.mark.parametrize("name", ["linear", "sigmoid", "cosine", "cyclical"])
def test_a_schedule_may_hold_and_begin_above_zero(name):
    plain = build_annealer(name, warmup_steps=8, max_beta=2.0, num_cycles=2)
    raised = build_annealer(
        name, warmup_steps=8, max_beta=2.0, num_cycles=2, start_beta=0.5, hold_steps=3
    )
    weights = [raised.value_at(step) for step in range(14)]
    assert weights[:4] == [0.5] * 4
    assert weights[3:] == pytest.approx([0.5 + 0.75 * plain.value_at(step) for step in range(11)])
    settled = next(step for step in range(14) if weights[step:] == [2.0] * (14 - step))
    for step in range(14):
        assert (raised.value, raised.finished) == (weights[step], step >= settled)
        raised.step()


def test_options_of_one_schedule():
    steep = build_annealer("sigmoid", warmup_steps=8, sigmoid_k=40)
    assert steep.value_at(3) < build_annealer("sigmoid", warmup_steps=8).value_at(3)
    round_ = build_annealer(
        "cyclical", warmup_steps=8, num_cycles=1, cycle_ratio=1, cycle_shape="cosine"
    )
    assert round_.value_at(1) == pytest.approx((1 - math.cos(math.pi / 7)) / 2)
