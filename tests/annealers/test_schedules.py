"""The schedules of the KL weight: closed forms, tables by hand, and every refusal."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.annealers.stepping import weights
from textvae.annealers import (
    ConstantAnnealer,
    CosineAnnealer,
    CyclicalAnnealer,
    LinearAnnealer,
    SigmoidAnnealer,
    build_annealer,
    cosine_annealing,
    cyclical_annealing,
    linear_annealing,
    sigmoid_annealing,
)
from textvae.checks import InputError

counts = st.integers(0, 10**9)
lengths = st.integers(1, 10**9)
ratios = st.floats(0, 1, exclude_min=True)


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


@given(lengths, st.integers(0, 10**9), st.floats(1e-6, 1e6))
def test_sigmoid_class_is_the_closed_form_stretched(warmup, step, k):
    step = min(step, warmup)
    low, high = sigmoid_annealing(0, warmup, k=k), sigmoid_annealing(warmup, warmup, k=k)
    expected = (sigmoid_annealing(step, warmup, k=k) - low) / (high - low)
    # The closed form loses digits where k is small, so that the oracle is the coarser of the two.
    found = SigmoidAnnealer(warmup, k=k).value_at(step)
    assert found == pytest.approx(expected, abs=1e-14 + 1e-15 / k)


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
    sizes = {"num_cycles": num_cycles, "total_steps": total_steps}
    annealer = CyclicalAnnealer(**sizes, ratio=ratio, shape=shape, max_beta=0.7)
    applied = weights(annealer, total_steps)
    starts = [cycle * total_steps // num_cycles for cycle in range(num_cycles)]
    for start, end in zip(starts, [*starts[1:], total_steps], strict=True):
        cycle = applied[start:end]
        assert cycle[-1] == 0.7
        assert cycle == sorted(cycle)
        assert cycle[0] in (0.0, 0.7)


def test_build_fills_the_warmup_with_cycles():
    annealer = build_annealer("cyclical", warmup_steps=8, num_cycles=2, cycle_ratio=0.25)
    assert weights(annealer, 10) == [0, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    least = build_annealer("cyclical", warmup_steps=4, num_cycles=4)
    assert weights(least, 5) == [1] * 5
    assert build_annealer("cyclical", warmup_steps=0, num_cycles=4).finished


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
    ],
)
def test_wrong_values_and_types_are_refused(call, message):
    kinds = "an integer", "a number", "got None"
    kind = TypeError if any(each in message for each in kinds) else InputError
    with pytest.raises(kind, match=message):
        call()


def test_integers_of_torch_are_integers():
    assert linear_annealing(torch.tensor(3), 4) == 0.75
    assert type(linear_annealing(torch.tensor(3), 4)) is float


def test_a_schedule_is_drawn(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    (line,) = LinearAnnealer(4, 2.0).plot().lines
    assert line.get_ydata().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    assert len(CyclicalAnnealer(10).plot(7).lines[0].get_ydata()) == 8
    assert len(CyclicalAnnealer(10).plot().lines[0].get_ydata()) == 1001  # it never rests
    pyplot.close("all")


@pytest.mark.parametrize("name", ["linear", "sigmoid", "cosine", "cyclical"])
def test_a_schedule_may_hold_and_begin_above_zero(name):
    options = {"warmup_steps": 8, "max_beta": 2.0, "num_cycles": 2}
    plain = build_annealer(name, **options)
    raised = build_annealer(name, **options, start_beta=0.5, hold_steps=3)
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
    options = {"num_cycles": 1, "cycle_ratio": 1, "cycle_shape": "cosine"}
    rounded = build_annealer("cyclical", warmup_steps=8, **options)
    assert rounded.value_at(1) == pytest.approx((1 - math.cos(math.pi / 7)) / 2)
