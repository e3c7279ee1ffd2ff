"""The KL weight: hand-made tables, one contract for every annealer, and every refusal."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textvae.annealers import (
    ANNEALERS,
    Annealer,
    ConstantAnnealer,
    CosineAnnealer,
    CyclicalAnnealer,
    KLAnnealer,
    LinearAnnealer,
    ScheduledAnnealer,
    SigmoidAnnealer,
    build_annealer,
    cosine_annealing,
    cyclical_annealing,
    linear_annealing,
    sigmoid_annealing,
)

counts = st.integers(0, 10**9)
lengths = st.integers(1, 10**9)
ratios = st.floats(0, 1, exclude_min=True)

# Name: (a fresh annealer, its weight at step 0, its highest weight, steps until it is finished).
CASES: dict[str, tuple[Callable[[], ScheduledAnnealer], float, float, int | None]] = {
    "constant": (lambda: ConstantAnnealer(0.3), 0.3, 0.3, 0),
    "linear": (lambda: LinearAnnealer(7, 0.9), 0.0, 0.9, 7),
    "linear at once": (lambda: LinearAnnealer(0), 1.0, 1.0, 0),
    "sigmoid": (lambda: SigmoidAnnealer(7, 2.0), 0.0, 2.0, 7),
    "sigmoid at once": (lambda: SigmoidAnnealer(0), 1.0, 1.0, 0),
    "sigmoid steep": (lambda: SigmoidAnnealer(9, k=30), 0.0, 1.0, 9),
    "cosine": (lambda: CosineAnnealer(7, 0.7), 0.0, 0.7, 7),
    "cosine at once": (lambda: CosineAnnealer(0), 1.0, 1.0, 0),
    "cycles": (lambda: CyclicalAnnealer(6, 2, max_beta=0.7), 0.0, 0.7, 9),
    "cycles, sigmoid": (lambda: CyclicalAnnealer(6, 2, shape="sigmoid"), 0.0, 1.0, 9),
    "cycles, cosine": (lambda: CyclicalAnnealer(6, 2, shape="cosine"), 0.0, 1.0, 9),
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


# --- closed forms


@pytest.mark.parametrize(
    ("step", "warmup_steps", "max_beta", "expected"),
    [
        (0, 10, 1.0, 0.0),  # the first batch is free of KL
        (1, 10, 1.0, 0.1),  # one step, one tenth
        (5, 10, 1.0, 0.5),  # half-way
        (5, 10, 4.0, 2.0),  # scaled by max_beta
        (9, 10, 1.0, 0.9),  # the last step of the warm-up is not full yet
        (10, 10, 1.0, 1.0),  # full exactly at its end
        (10**9, 10, 1.0, 1.0),  # and ever after
        (0, 0, 0.5, 0.5),  # no warm-up: full from the first step
        (0, 1, 1.0, 0.0),  # a warm-up of one step spares one batch
        (3, 10, 0.0, 0.0),  # no KL at all is a legal weight
    ],
)
def test_linear_table(step: int, warmup_steps: int, max_beta: float, expected: float) -> None:
    assert linear_annealing(step, warmup_steps, max_beta) == expected


@pytest.mark.parametrize(
    ("step", "warmup_steps", "k", "expected"),
    [
        (0, 100, 10, 1 / (1 + math.exp(5))),  # x = -k / 2: 0.0067, not 0
        (50, 100, 10, 0.5),  # half-way: x = 0
        (60, 100, 10, 1 / (1 + math.exp(-1))),  # a k-th of the warm-up later: x = 1
        (100, 100, 10, 1 / (1 + math.exp(-5))),  # x = k / 2: 0.9933, not 1
        (200, 100, 10, 1 / (1 + math.exp(-15))),  # it goes on rising after the warm-up
        (0, 100, 4, 1 / (1 + math.exp(2))),  # flatter: starts higher
        (10**9, 1, 10, 1.0),  # far beyond, where exp(x) would overflow
        (0, 10**9, 5000, 0.0),  # far below, where exp(-x) would overflow
        (0, 0, 10, 1.0),  # no warm-up: full from the first step
    ],
)
def test_sigmoid_table(step: int, warmup_steps: int, k: float, expected: float) -> None:
    assert sigmoid_annealing(step, warmup_steps, k=k) == pytest.approx(expected, rel=1e-12)
    assert sigmoid_annealing(step, warmup_steps, 0.5, k) == pytest.approx(expected / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "warmup_steps", "max_beta", "expected"),
    [
        (0, 6, 1.0, 0.0),  # cos 0 = 1
        (1, 6, 1.0, (1 - math.sqrt(3) / 2) / 2),  # cos 30°
        (2, 6, 1.0, 0.25),  # cos 60° = 1/2
        (3, 6, 1.0, 0.5),  # cos 90° = 0
        (4, 6, 2.0, 1.5),  # cos 120° = -1/2, scaled
        (6, 6, 0.3, 0.3),  # cos 180° = -1
        (7, 6, 0.3, 0.3),  # it does not come down again
        (0, 0, 0.3, 0.3),  # no warm-up: full from the first step
    ],
)
def test_cosine_table(step: int, warmup_steps: int, max_beta: float, expected: float) -> None:
    assert cosine_annealing(step, warmup_steps, max_beta) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("step", "ratio", "expected"),
    [
        (0, 0.5, 0.0),  # a cycle starts at 0
        (2, 0.5, 0.4),  # rises over 5 of its 10 steps
        (5, 0.5, 1.0),  # is full from the end of the rise
        (9, 0.5, 1.0),  # to its last step
        (10, 0.5, 0.0),  # and starts again
        (10**9 + 1, 0.5, 0.2),  # also late
        (1, 0.29, 0.5),  # a rise of 2.9 steps is one of 2
        (0, 0.05, 1.0),  # a rise of half a step is none
        (9, 1.0, 0.9),  # rising all the time, it never gets there
    ],
)
def test_cyclical_table(step: int, ratio: float, expected: float) -> None:
    assert cyclical_annealing(step, 10, ratio) == expected
    assert cyclical_annealing(step, 10, ratio, max_beta=0.5) == expected / 2


def test_cyclical_defaults() -> None:
    assert cyclical_annealing(2500) == 0.5
    assert cyclical_annealing(7500) == 1.0


@given(counts, counts, lengths, ratios, st.floats(0, 1e300), st.floats(1e-6, 1e6))
def test_closed_forms_stay_in_range(
    step: int, warmup_steps: int, cycle: int, ratio: float, max_beta: float, k: float
) -> None:
    assert 0 <= linear_annealing(step, warmup_steps, max_beta) <= max_beta
    assert 0 <= cosine_annealing(step, warmup_steps, max_beta) <= max_beta
    assert 0 <= sigmoid_annealing(step, warmup_steps, max_beta, k) <= max_beta
    assert 0 <= cyclical_annealing(step, cycle, ratio, max_beta) <= max_beta


# --- the contract


@pytest.mark.parametrize("case", CASES)
def test_contract_first_batch_sees_value_at_0(case: str) -> None:
    annealer = fresh(case)
    assert annealer.current_step == 0
    assert annealer(1.0) == annealer.value == annealer.value_at(0) == CASES[case][1]


@pytest.mark.parametrize("case", CASES)
def test_contract_weights_are_value_at_the_steps_taken(case: str) -> None:
    annealer = fresh(case)
    planned = [annealer.value_at(step) for step in range(STEPS)]
    assert annealer.current_step == 0  # looking ahead moves nothing
    assert weights(annealer, STEPS) == planned
    assert [annealer.value_at(step) for step in range(STEPS)] == planned
    assert annealer.value_at(annealer.current_step) == annealer.value


@pytest.mark.parametrize("case", CASES)
def test_contract_end_points_are_exact(case: str) -> None:
    make, first, highest, end = CASES[case]
    applied = weights(make(), STEPS)
    assert min(applied) == applied[0] == first
    assert max(applied) == highest
    if end is not None:
        assert all(weight == highest for weight in applied[end:])
        assert end == 0 or applied[end - 1] < highest


@pytest.mark.parametrize("case", CASES)
def test_contract_finished_from_the_step_where_the_weight_settles(case: str) -> None:
    make, _, _, end = CASES[case]
    annealer = make()
    for step in range(STEPS):
        assert annealer.finished is (end is not None and step >= end)
        annealer.step()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [0, 1, 5, STEPS])
def test_contract_state_round_trip(case: str, steps: int) -> None:
    annealer = after(fresh(case), steps)
    state = json.loads(json.dumps(annealer.state_dict()))
    resumed = fresh(case)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == annealer.state_dict() == state
    assert resumed.finished is annealer.finished
    assert weights(resumed, STEPS) == weights(annealer, STEPS)


@pytest.mark.parametrize("case", CASES)
def test_contract_state_is_a_snapshot(case: str) -> None:
    annealer = fresh(case)
    state = annealer.state_dict()
    annealer.step()
    assert state["current_step"] == 0


@pytest.mark.parametrize("case", CASES)
def test_contract_multiplies_tensors(case: str) -> None:
    annealer = after(fresh(case), 2)
    kl = torch.tensor([2.0, 4.0], requires_grad=True)
    weighted = annealer(kl)
    torch.testing.assert_close(weighted, kl.detach() * annealer.value)
    weighted.sum().backward()
    torch.testing.assert_close(kl.grad, torch.full((2,), annealer.value))
    assert kl.dtype == weighted.dtype


@pytest.mark.parametrize("case", CASES)
def test_contract_repr_shows_settings_and_counter(case: str) -> None:
    annealer = after(fresh(case), 3)
    assert repr(annealer).startswith(type(annealer).__name__ + "(")
    assert repr(annealer).endswith(")")
    assert f"current_step={annealer.current_step}" in repr(annealer)
    assert repr(fresh(case)).count("current_step=0") == 1
    assert "_" not in repr(annealer)[: repr(annealer).index("(") + 2]


@pytest.mark.parametrize("case", CASES)
def test_contract_copies_and_pickles(case: str) -> None:
    annealer = after(fresh(case), 3)
    for twin in (copy.deepcopy(annealer), pickle.loads(pickle.dumps(annealer))):
        assert repr(twin) == repr(annealer)
        assert twin.value == annealer.value


@pytest.mark.parametrize("case", CASES)
def test_contract_is_all_that_a_loop_asks_for(case: str) -> None:
    assert isinstance(fresh(case), KLAnnealer)


def test_anyones_annealer_fits_the_protocol() -> None:
    class Halving:
        def __call__(self, kl: Any) -> Any:
            return kl / 2

        def step(self) -> None:
            pass

    assert isinstance(Halving(), KLAnnealer)
    assert not isinstance(0.5, KLAnnealer)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ({}, ValueError, "the keys"),  # nothing in it
        ({"step": 3}, ValueError, r"got \{'step': 3\}"),  # someone else's state
        ({"current_step": 3, "beta": 1.0, "cyclical": True}, ValueError, "the keys"),  # too much
        ([3], ValueError, r"must be a mapping .* got \[3\]"),
        (None, ValueError, "must be a mapping .* got None"),
        (-1, ValueError, "current_step must be at least 0, got -1"),
        (1.5, TypeError, "current_step must be an integer, got 1.5"),
        (True, TypeError, "current_step must be an integer, got True"),
        ("3", TypeError, "current_step must be an integer, got '3'"),
    ],
)
def test_contract_malformed_state_changes_nothing(
    case: str, broken: object, error: type[Exception], message: str
) -> None:
    annealer = after(fresh(case), 2)
    before = repr(annealer)
    if not isinstance(broken, dict | list | None):
        broken = {**annealer.state_dict(), "current_step": broken}
    with pytest.raises(error, match=message):
        annealer.load_state_dict(broken)  # type: ignore[arg-type]
    assert repr(annealer) == before


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (-1, ValueError, "step must be at least 0, got -1"),
        (1.0, TypeError, "step must be an integer, got 1.0"),
        (True, TypeError, "step must be an integer, got True"),
        (None, TypeError, "step must be an integer, got None"),
    ],
)
def test_contract_value_at_refuses(
    case: str, step: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fresh(case).value_at(step)


# --- the warm-ups


def test_linear_and_cosine_are_their_closed_forms() -> None:
    for step in range(12):
        assert LinearAnnealer(9, 0.8).value_at(step) == linear_annealing(step, 9, 0.8)
        assert CosineAnnealer(9, 0.8).value_at(step) == cosine_annealing(step, 9, 0.8)


@given(lengths, st.integers(0, 10**9), st.floats(1e-6, 1e6))
def test_sigmoid_class_is_the_closed_form_stretched(warmup: int, step: int, k: float) -> None:
    step = min(step, warmup)
    low, high = sigmoid_annealing(0, warmup, k=k), sigmoid_annealing(warmup, warmup, k=k)
    expected = (sigmoid_annealing(step, warmup, k=k) - low) / (high - low)
    # The closed form loses digits where k is small, so that the oracle is the coarser of the two.
    assert SigmoidAnnealer(warmup, k=k).value_at(step) == pytest.approx(
        expected, abs=1e-14 + 1e-15 / k
    )


def test_sigmoid_class_is_near_the_closed_form() -> None:
    gaps = [SigmoidAnnealer(100).value_at(n) - sigmoid_annealing(n, 100) for n in range(101)]
    assert max(map(abs, gaps)) < 0.007


@given(lengths, counts, st.floats(0, 1e300))
@pytest.mark.parametrize("kind", [LinearAnnealer, SigmoidAnnealer, CosineAnnealer])
def test_warmups_rise_between_exact_ends_at_any_length(
    kind: type[LinearAnnealer], warmup_steps: int, step: int, max_beta: float
) -> None:
    annealer = kind(warmup_steps, max_beta)
    assert annealer.value_at(0) == 0.0
    assert annealer.value_at(warmup_steps) == annealer.value_at(warmup_steps + step) == max_beta
    assert 0 <= annealer.value_at(step) <= annealer.value_at(step + 1) <= max_beta


# --- cycles


@pytest.mark.parametrize(
    ("annealer", "expected"),
    [
        # half of four steps rises, half is full; full after two cycles
        (CyclicalAnnealer(4, 2), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1]),
        # no end
        (CyclicalAnnealer(4), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0, 0.5]),
        # rising all the time, the last step of a cycle is still full
        (CyclicalAnnealer(3, 2, ratio=1.0), [0, 0.5, 1, 0, 0.5, 1, 1]),
        # a cycle of one step has room for nothing but full weight
        (CyclicalAnnealer(1, ratio=1.0), [1, 1, 1]),
        # a rise of less than a step is none
        (CyclicalAnnealer(4, 2, ratio=0.2), [1, 1, 1, 1, 1]),
        # 10 steps in 3 cycles: of 3, 3 and 4 steps, and never short of the end
        (
            CyclicalAnnealer(num_cycles=3, total_steps=10, ratio=1.0),
            [0, 0.5, 1, 0, 0.5, 1, 0, 1 / 3, 2 / 3, 1, 1, 1],
        ),
        # as many cycles as steps
        (CyclicalAnnealer(num_cycles=3, total_steps=3), [1, 1, 1, 1]),
        # the quarter and three quarters of half a cosine wave
        (
            CyclicalAnnealer(8, 1, shape="cosine", max_beta=2.0),
            [0, 1 - math.sqrt(0.5), 1, 1 + math.sqrt(0.5), 2, 2, 2, 2, 2],
        ),
    ],
)
def test_cycles_table(annealer: CyclicalAnnealer, expected: list[float]) -> None:
    assert weights(annealer, len(expected)) == pytest.approx(expected)


def test_sigmoid_cycles_have_the_shape_of_the_sigmoid_annealer() -> None:
    cycles = CyclicalAnnealer(20, shape="sigmoid", ratio=0.5)
    assert weights(cycles, 10) == weights(SigmoidAnnealer(10), 10)


def test_cycle_length_and_total_steps_say_the_same() -> None:
    by_length, by_total = CyclicalAnnealer(6, 3), CyclicalAnnealer(num_cycles=3, total_steps=18)
    assert by_length.total_steps == by_total.total_steps == 18
    assert weights(by_length, 25) == weights(by_total, 25)


@given(st.integers(1, 60), st.integers(1, 12), ratios, st.sampled_from(["linear", "cosine"]))
def test_every_cycle_reaches_full_weight(
    total_steps: int, num_cycles: int, ratio: float, shape: str
) -> None:
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


@given(lengths, lengths, counts, ratios, st.sampled_from(["linear", "sigmoid", "cosine"]))
def test_cycles_stay_in_range_at_any_length(
    length: int, num_cycles: int, step: int, ratio: float, shape: str
) -> None:
    num_cycles = min(num_cycles, length)
    for annealer in (
        CyclicalAnnealer(length, ratio=ratio, shape=shape),
        CyclicalAnnealer(length, num_cycles, ratio=ratio, shape=shape),
        CyclicalAnnealer(total_steps=length, num_cycles=num_cycles, ratio=ratio, shape=shape),
    ):
        assert 0 <= annealer.value_at(step) <= 1
    assert annealer.value_at(length - 1) == annealer.value_at(length) == 1


# --- the annealer of the vae-annealing package


@pytest.mark.parametrize(
    ("shape", "baseline", "expected"),
    [
        ("linear", 0.0, [0, 0.25, 0.5, 0.75, 1, 1]),  # full weight after total_steps, then held
        ("linear", 0.2, [0.2, 0.4, 0.6, 0.8, 1, 1]),  # from the baseline up
        ("linear", 1.0, [1, 1, 1, 1, 1, 1]),  # a baseline of 1 leaves nothing to anneal
        ("cosine", 0.0, [0, 0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125), 1, 1]),
    ],
)
def test_package_table(shape: str, baseline: float, expected: list[float]) -> None:
    assert weights(Annealer(4, shape, baseline), 6) == pytest.approx(expected)


def test_package_logistic_is_one_per_step_steep() -> None:
    annealer = Annealer(100, "logistic")
    for step in range(101):
        assert annealer.value_at(step) == pytest.approx(1 / (1 + math.exp(50 - step)), abs=1e-15)


@pytest.mark.parametrize("total_steps", [1, 1420, 10**9])  # the package overflows from 1,420
@pytest.mark.parametrize("baseline", [0.0, 0.1, 1.0])
def test_package_logistic_never_overflows(total_steps: int, baseline: float) -> None:
    annealer = Annealer(total_steps, "logistic", baseline)
    assert annealer.value_at(0) == baseline
    assert annealer.value_at(total_steps) == 1.0


@given(
    lengths,
    counts,
    st.sampled_from(["linear", "cosine", "logistic"]),
    st.floats(0, 1),
    st.booleans(),
)
def test_package_stays_between_baseline_and_1(
    total_steps: int, step: int, shape: str, baseline: float, cyclical: bool
) -> None:
    annealer = Annealer(total_steps, shape, baseline, cyclical)
    assert annealer.value_at(0) == baseline
    assert baseline <= annealer.value_at(step) <= 1.0
    annealer.set_cyclical(False)
    assert annealer.value_at(total_steps) == 1.0


def test_package_counter_stops_at_total_steps() -> None:
    annealer = Annealer(3)
    assert [after(annealer, 1).current_step for _ in range(5)] == [1, 2, 3, 3, 3]


def test_package_cyclical_counter_is_zeroed_on_reaching_total_steps() -> None:
    annealer = Annealer(3, cyclical=True)
    assert [after(annealer, 1).current_step for _ in range(7)] == [1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("setter", ["set_cyclical", "cyclical_setter"])
def test_package_cycles_can_be_switched_off_and_on(setter: str) -> None:
    annealer = Annealer(2, cyclical=True)
    switch = getattr(annealer, setter)
    assert weights(annealer, 3) == [0, 0.5, 0]  # cycling
    switch(False)
    assert weights(annealer, 3) == [0.5, 1, 1]  # goes on from where it is, and holds
    assert annealer.finished
    switch(True)
    assert not annealer.finished
    assert annealer.value == 1.0  # the coming batch still sees the weight that was held
    assert annealer.value_at(annealer.current_step) == 0.0  # a fresh one would have started again
    assert weights(annealer, 4) == [1, 0, 0.5, 0]


def test_package_state_holds_the_switch() -> None:
    annealer = Annealer(2, cyclical=True)
    annealer.set_cyclical(False)
    resumed = Annealer(2, cyclical=True)
    resumed.load_state_dict(annealer.state_dict())
    assert weights(resumed, 4) == [0, 0.5, 1, 1]
    with pytest.raises(TypeError, match="cyclical must be True or False, got 1"):
        resumed.load_state_dict({"current_step": 0, "cyclical": 1})
    assert resumed.current_step == 2


def test_package_disabled_returns_its_argument_unchanged() -> None:
    kl, annealer = object(), Annealer(4, baseline=0.5, disable=True)
    for _ in range(3):
        assert annealer(kl) is kl
        annealer.step()
    assert annealer.current_step == 3


# --- building by name


@pytest.mark.parametrize("name", ANNEALERS)
def test_build_makes_each_by_name(name: str) -> None:
    annealer = build_annealer(name, warmup_steps=12, max_beta=0.5)
    assert type(annealer) is ANNEALERS[name]
    assert after(annealer, 12).finished
    assert annealer.value == 0.5


@pytest.mark.parametrize("name", ANNEALERS)
def test_build_without_warmup_gives_full_weight_at_once(name: str) -> None:
    annealer = build_annealer(name, warmup_steps=0, max_beta=0.5)
    assert annealer.finished
    assert annealer.value == 0.5


def test_build_fills_the_warmup_with_cycles() -> None:
    annealer = build_annealer("cyclical", warmup_steps=8, num_cycles=2, cycle_ratio=0.25)
    assert weights(annealer, 10) == [0, 1, 1, 1, 0, 1, 1, 1, 1, 1]


# --- refusals


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_annealing(-1, 5), ValueError, "^step must be at least 0, got -1"),
        (lambda: linear_annealing(1, -5), ValueError, "warmup_steps must be at least 0, got -5"),
        (lambda: linear_annealing(0.5, 5), TypeError, "^step must be an integer, got 0.5"),
        (lambda: linear_annealing(1, True), TypeError, "warmup_steps must be an integer, got True"),
        (lambda: linear_annealing(1, 5, -1.0), ValueError, r"max_beta must be in \[0, inf\)"),
        (lambda: linear_annealing(1, 5, math.nan), ValueError, "max_beta .* got nan"),
        (lambda: linear_annealing(1, 5, math.inf), ValueError, "max_beta .* got inf"),
        (lambda: linear_annealing(1, 5, "1"), TypeError, "max_beta must be a number, got '1'"),
        (lambda: linear_annealing(1, 5, True), TypeError, "max_beta must be a number, got True"),
        (lambda: cosine_annealing(-1, 5), ValueError, "^step must be at least 0, got -1"),
        (lambda: cosine_annealing(1, None), TypeError, "warmup_steps must be an integer, got None"),
        (lambda: cosine_annealing(1, 5, -0.1), ValueError, r"max_beta .* got -0\.1"),
        (lambda: sigmoid_annealing(-1, 5), ValueError, "^step must be at least 0, got -1"),
        (lambda: sigmoid_annealing(1, 0.2), TypeError, "warmup_steps must be an integer, got 0.2"),
        (lambda: sigmoid_annealing(1, 5, None), TypeError, "max_beta must be a number, got None"),
        (lambda: sigmoid_annealing(1, 5, k=0), ValueError, r"k must be in \[1e-6, inf\), got 0"),
        (lambda: sigmoid_annealing(1, 5, k=math.inf), ValueError, "k must be .* got inf"),
        (lambda: cyclical_annealing(-1), ValueError, "^step must be at least 0, got -1"),
        (lambda: cyclical_annealing(1, 0), ValueError, "cycle_length must be at least 1, got 0"),
        (lambda: cyclical_annealing(1, 9.0), TypeError, "cycle_length must be an integer, got 9.0"),
        (lambda: cyclical_annealing(1, 9, 0.0), ValueError, r"ratio must be in \(0, 1\], got 0"),
        (lambda: cyclical_annealing(1, 9, 1.7), ValueError, r"ratio .* got 1\.7"),
        (lambda: cyclical_annealing(1, 9, math.nan), ValueError, "ratio .* got nan"),
        (lambda: cyclical_annealing(1, 9, "all"), TypeError, "ratio must be a number, got 'all'"),
        (lambda: cyclical_annealing(1, 9, 0.5, -1), ValueError, "max_beta .* got -1"),
        (lambda: ConstantAnnealer(-1), ValueError, r"^beta must be in \[0, inf\), got -1"),
        (lambda: ConstantAnnealer("1"), TypeError, "^beta must be a number, got '1'"),
        (lambda: LinearAnnealer(-1), ValueError, "warmup_steps must be at least 0, got -1"),
        (lambda: LinearAnnealer(2.0), TypeError, "warmup_steps must be an integer, got 2.0"),
        (lambda: CosineAnnealer(2, math.nan), ValueError, "max_beta .* got nan"),
        (lambda: SigmoidAnnealer(2, k=-1), ValueError, "k must be .* got -1"),
        (lambda: SigmoidAnnealer(2, k="10"), TypeError, "k must be a number, got '10'"),
        (lambda: CyclicalAnnealer(), ValueError, r"exactly one .* got \(None, None\)"),
        (lambda: CyclicalAnnealer(5, 2, total_steps=10), ValueError, r"one .* got \(5, 10\)"),
        (lambda: CyclicalAnnealer(0), ValueError, "cycle_length must be at least 1, got 0"),
        (lambda: CyclicalAnnealer(2.5), TypeError, "cycle_length must be an integer, got 2.5"),
        (lambda: CyclicalAnnealer(5, 0), ValueError, "num_cycles must be at least 1, got 0"),
        (lambda: CyclicalAnnealer(5, 1.5), TypeError, "num_cycles must be an integer, got 1.5"),
        (lambda: CyclicalAnnealer(total_steps=9), TypeError, "num_cycles must be .* got None"),
        (
            lambda: CyclicalAnnealer(total_steps=-9, num_cycles=3),
            ValueError,
            "total_steps must be at least 0, got -9",
        ),
        (
            lambda: CyclicalAnnealer(total_steps=2, num_cycles=3),
            ValueError,
            "num_cycles must be at least 1 and at most 2, got 3",
        ),
        (lambda: CyclicalAnnealer(5, ratio=0), ValueError, r"ratio must be in \(0, 1\], got 0"),
        (lambda: CyclicalAnnealer(5, max_beta=-2), ValueError, "max_beta .* got -2"),
        (
            lambda: CyclicalAnnealer(5, shape="logistic"),
            ValueError,
            "shape must be one of linear, cosine, sigmoid, got 'logistic'",
        ),
        (lambda: Annealer(0), ValueError, "total_steps must be at least 1, got 0"),
        (lambda: Annealer(10.0), TypeError, "total_steps must be an integer, got 10.0"),
        (
            lambda: Annealer(10, "sigmoid"),
            ValueError,
            "shape must be one of linear, cosine, logistic, got 'sigmoid'",
        ),
        (lambda: Annealer(10, baseline=1.7), ValueError, r"baseline must be in \[0, 1\], got 1\.7"),
        (lambda: Annealer(10, baseline=-0.1), ValueError, r"baseline .* got -0\.1"),
        (lambda: Annealer(10, baseline=None), TypeError, "baseline must be a number, got None"),
        (lambda: Annealer(10, cyclical=1), TypeError, "cyclical must be True or False, got 1"),
        (lambda: Annealer(10, disable="no"), TypeError, "disable must be True or False, got 'no'"),
        (lambda: Annealer(10).set_cyclical(0), TypeError, "value must be True or False, got 0"),
        (lambda: Annealer(10).cyclical_setter(None), TypeError, "value must be .* got None"),
        (
            lambda: build_annealer("logistic", warmup_steps=5),
            ValueError,
            "one of constant, linear, sigmoid, cosine, cyclical, got 'logistic'",
        ),
        (lambda: build_annealer(None, warmup_steps=5), ValueError, "name must be .* got None"),
        (lambda: build_annealer("linear", warmup_steps=-5), ValueError, "warmup_steps .* got -5"),
        (
            lambda: build_annealer("cyclical", warmup_steps=3, num_cycles=4),
            ValueError,
            "0 or at least num_cycles, 4, got 3; training.s come from warmup_epochs",
        ),
    ],
)
def test_refusals(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("index", [torch.tensor(3), torch.tensor(3, dtype=torch.int32)])
def test_other_integers_are_integers(index: Any) -> None:
    assert linear_annealing(index, 4) == 0.75
    assert type(linear_annealing(index, 4)) is float


# --- the import


def test_import_needs_no_torch() -> None:
    code = "import sys, textvae.annealers; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "datasets", "tokenizers", "accelerate"}
    assert heavy.isdisjoint(run.stdout.split())
