"""Tests of `textvae.report.schedules`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.annealers import ANNEALERS, Annealer, CyclicalAnnealer, LinearAnnealer, build_annealer
from textvae.report import schedules
from textvae.report.schedules import FIGURES, KINDS, Switched, build, listing, picture, weights

SHARED: dict[str, Any] = {"warmup_steps": 40, "max_beta": 0.5, "num_cycles": 3, "cycle_ratio": 0.7}


class Feedback:
    """Somebody's annealer: it can be called and stepped, and nothing else."""

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, kl: Any) -> Any:
        return kl * self.weight

    def step(self) -> None:
        self.weight /= 2


# build


@pytest.mark.parametrize("name", ANNEALERS)
def test_a_plain_name_is_what_training_makes_of_it(name: str) -> None:
    steps = range(60)
    assert weights(build(name, **SHARED), steps) == weights(build_annealer(name, **SHARED), steps)


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("linear:warmup_steps=7", LinearAnnealer(7, 0.5)),
        ("linear:warmup_steps=7,max_beta=2", LinearAnnealer(7, 2.0)),
        ("constant:beta=0.25", ANNEALERS["constant"](0.25)),
        ("sigmoid:k=3.5", ANNEALERS["sigmoid"](40, 0.5, k=3.5)),
        # All that the shared arguments say holds on beside what is given.
        (
            "cyclical:shape=cosine",
            CyclicalAnnealer(total_steps=40, num_cycles=3, ratio=0.7, shape="cosine", max_beta=0.5),
        ),
        # A cycle's length leaves no room for the number that fills the warm-up: they never end.
        ("cyclical:cycle_length=6", CyclicalAnnealer(6, ratio=0.7, max_beta=0.5)),
        ("cyclical:cycle_length=6,num_cycles=2", CyclicalAnnealer(6, 2, ratio=0.7, max_beta=0.5)),
        ("vae-annealing", Annealer(40)),
        (
            "vae-annealing:shape=logistic,total_steps=9,baseline=0.1,cyclical=true",
            Annealer(9, "logistic", 0.1, cyclical=True),
        ),
        ("vae-annealing:disable=True", Annealer(40, disable=True)),
    ],
)
def test_arguments_of_the_class_itself(spec: str, same: Any) -> None:
    made = build(spec, **SHARED)
    assert repr(made) == repr(same)
    assert weights(made, range(60)) == weights(same, range(60))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lineal", "one of constant, linear, sigmoid, cosine, cyclical, vae-annealing, got 'linea"),
        ("", "an annealer must be one of .*, got ''"),
        (
            "linear:slope=3",
            "arguments are warmup_steps, max_beta, each once, as in a=1, got 'slope=3'",
        ),
        ("linear:7", "arguments are warmup_steps, max_beta, each once, as in a=1, got '7'"),
        ("linear:warmup_steps=7,warmup_steps=8", "each once, as in a=1, got 'warmup_steps=8'"),
        ("linear:warmup_steps=7,", "as in a=1, got ''"),
        ("linear:warmup_steps=many", "^linear:.*many: warmup_steps must be an integer, got 'many'"),
        ("linear:max_beta=nan", r"^linear:max_beta=nan: max_beta must be in \[0, inf\), got nan"),
        ("cyclical:shape=round", "shape must be one of linear, cosine, sigmoid, got 'round'"),
        ("cyclical:total_steps=4,cycle_length=2", "exactly one of cycle_length and total_steps"),
        ("vae-annealing:cyclical=2", "cyclical must be True or False, got 2"),
        ("vae-annealing:off=x", "^vae-annealing:off=x: off must be a step, 0 or more, got 'x'"),
        ("vae-annealing:on=-1", "on must be a step, 0 or more, got -1"),
        ("vae-annealing:on=true", "on must be a step, 0 or more, got True"),
        ("cyclical:off=3", "arguments are cycle_length, .*, each once, as in a=1, got 'off=3'"),
    ],
)
def test_what_is_no_annealer(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(spec, **SHARED)


def test_every_annealer_can_be_named() -> None:
    assert set(KINDS) == {*ANNEALERS, "vae-annealing"}
    for name in KINDS:
        assert len(weights(build(name, **SHARED), range(3))) == 3


# weights


@given(
    st.sampled_from(
        [*KINDS, "vae-annealing:total_steps=9,cyclical=true", "cyclical:cycle_length=7"]
    ),
    st.lists(st.integers(0, 60), unique=True).map(sorted),
)
def test_weights_are_those_of_stepping(spec: str, steps: list[int]) -> None:
    annealer = build(spec, **SHARED)
    asked = weights(annealer, steps)
    stepped = []
    for _ in range(61):
        stepped.append(annealer(1.0))
        annealer.step()
    assert asked == [stepped[step] for step in steps]


def test_an_annealer_that_can_only_be_stepped() -> None:
    annealer = Feedback()
    assert weights(annealer, [0, 1, 3]) == [1.0, 0.5, 0.125]
    assert annealer.weight == 1.0  # a copy was stepped


def test_switching_is_the_documented_loop() -> None:
    """Disabled at epoch 30 and enabled again at epoch 70, as the package's documentation has it."""
    annealing_agent = Annealer(20, shape="cosine", cyclical=True)
    expected = []
    for epoch in range(101):
        expected.append(annealing_agent(1.0))
        annealing_agent.step()
        if epoch == 30:
            annealing_agent.set_cyclical(False)
        if epoch == 70:
            annealing_agent.set_cyclical(True)
    ((_, spec),) = FIGURES["switching"].panels[""].items()
    found = weights(build(spec, warmup_steps=80), range(101))
    assert found == expected
    # By hand: the second cycle ends and holds until the switch, and a cycle starts after it.
    assert (found[19], found[20], found[39]) == (
        pytest.approx(0.9938, abs=1e-4),
        0.0,
        pytest.approx(0.9938, abs=1e-4),
    )
    assert set(found[40:72]) == {1.0}
    assert found[72] == 0.0


def test_a_switch_is_thrown_on_a_copy() -> None:
    annealer = Switched(Annealer(4), {0: True})
    assert weights(annealer, range(7)) == [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5]
    assert (annealer.current_step, annealer.annealer.cyclical) == (0, False)


# listing


def test_a_listing() -> None:
    panels = {
        "": {"up": LinearAnnealer(8), "half": build("constant", warmup_steps=0, max_beta=0.5)}
    }
    assert listing(panels, 10, title="Two schedules").split("\n") == [
        "Two schedules",
        "",
        "step     up   half",
        "   0  0.000  0.500",
        "   1  0.125  0.500",
        "   2  0.250  0.500",
        "   3  0.375  0.500",
        "   4  0.500  0.500",
        "   5  0.625  0.500",
        "   6  0.750  0.500",
        "   7  0.875  0.500",
        "   8  1.000  0.500",
        "   9  1.000  0.500",
        "  10  1.000  0.500",
        "",
        "  up │ ▁▂▃▄▅▆▇███│",  # 0 is blank
        "half │▄▄▄▄▄▄▄▄▄▄▄│",  # one scale for all
        "      steps 0 to 10, full height is β = 1",
    ]


def test_panels_are_listed_one_after_the_other() -> None:
    one = {"a": LinearAnnealer(1)}
    lines = listing({"first": one, "second": one}, 1, title="Both").split("\n")
    block = ["step      a", "   0  0.000", "   1  1.000", "", "a │ █│"]
    scale = "   steps 0 to 1, full height is β = 1"
    assert lines == ["Both", "", "first", *block, scale, "", "second", *block, scale]


@pytest.mark.parametrize(
    ("max_beta", "shown", "scale"),
    [
        (1.0, "0.500", "1"),
        (250.0, "125.000", "250"),
        (0.002, "0.00100", "0.002"),  # a small weight keeps its digits
        (0.0, "0.000", "1"),  # never anything: blank, and no division by 0
    ],
)
def test_weights_of_any_size(max_beta: float, shown: str, scale: str) -> None:
    text = listing({"": {"a": LinearAnnealer(2, max_beta)}}, 2, title="t")
    assert text.split("\n")[4].split() == ["1", shown]
    assert text.endswith(f"full height is β = {scale}")
    assert ("█" in text) == (max_beta > 0)


def test_little_is_not_nothing() -> None:
    text = listing({"": {"a": LinearAnnealer(1000)}}, 1000, title="t")
    bars = text.split("│")[1]
    assert bars.count(" ") == 1
    assert bars.startswith(" ▁")
    assert len(bars) == 60
    assert [line.split()[0] for line in text.split("\n")[3:14]] == (
        ["0", *(f"{step}" for step in range(100, 1000, 100)), "1,000"]
    )


# picture


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be drawn, in place of files."""
    asked: list[Any] = []

    def panel_chart(path: Any, panels: Any, *, title: str) -> None:
        asked.append((path, panels, title))

    monkeypatch.setattr(schedules, "panel_chart", panel_chart)
    return asked


def test_every_step_is_drawn(drawn: list[Any]) -> None:
    annealer = CyclicalAnnealer(10, 2)
    picture("a.png", {"p": {"cycles": annealer}}, 25, title="t")
    ((path, (panel,), title),) = drawn
    assert (path, title, panel.title) == ("a.png", "t", "p")
    steps, values = panel.curves["cycles"]
    assert steps == list(range(26))
    assert values == [annealer.value_at(step) for step in range(26)]


def test_many_steps_are_thinned_out_and_soon_drawn(drawn: list[Any]) -> None:
    start = time.perf_counter()
    picture("a.png", {"": {"a": build("cyclical", warmup_steps=10**7)}}, 10**7, title="t")
    assert time.perf_counter() - start < 1
    steps, values = drawn[0][1][0].curves["a"]
    assert steps == list(range(0, 10**7 + 1, 10**4))
    assert len(values) == 1001


@pytest.mark.parametrize("num_steps", [0, -3])
def test_there_is_a_step(num_steps: int) -> None:
    one = {"": {"a": LinearAnnealer(1)}}
    with pytest.raises(ValueError, match=f"steps must be at least 1, got {num_steps}"):
        picture("a.png", one, num_steps, title="t")
    with pytest.raises(ValueError, match=f"steps must be at least 1, got {num_steps}"):
        listing(one, num_steps, title="t")


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures(tmp_path: Path, name: str) -> None:
    title, panels = FIGURES[name]
    built = {
        heading: {label: build(spec, warmup_steps=80) for label, spec in specs.items()}
        for heading, specs in panels.items()
    }
    picture(tmp_path / "a.png", built, 100, title=title)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert listing(built, 100, title=title).startswith(title)


def test_the_shapes_differ_and_meet_at_both_ends() -> None:
    curves = [
        weights(build(spec, warmup_steps=80), range(101))
        for spec in FIGURES["shapes"].panels[""].values()
    ]
    assert {curve[0] for curve in curves} == {0.0}
    assert {value for curve in curves for value in curve[80:]} == {1.0}
    assert [round(curve[20], 3) for curve in curves] == [0.25, 0.146, 0.07, 0.0]
