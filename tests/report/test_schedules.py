import time
from typing import Any

import pytest

from textvae.annealers import CyclicalAnnealer, LinearAnnealer, build_annealer
from textvae.interop.vae_annealing import Annealer
from textvae.report import schedules
from textvae.report.schedules import FIGURES, drawing, listing, picture, weights

SHARED: dict[str, Any] = {"warmup_steps": 40, "max_beta": 0.5, "num_cycles": 3, "cycle_ratio": 0.7}
USUAL: dict[str, Any] = {"warmup_steps": 80, "max_beta": 1.0, "num_cycles": 4, "cycle_ratio": 0.5}


class Feedback:
    """Somebody's annealer: it can be called and stepped, and nothing else."""

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, kl: Any) -> Any:
        return kl * self.weight

    def step(self) -> None:
        self.weight /= 2


def test_the_shapes_differ_and_meet_at_both_ends():
    shapes = drawing(figure="shapes", **USUAL)[1][""].values()
    curves = [weights(annealer, range(101)) for annealer in shapes]
    assert {curve[0] for curve in curves} == {0.0}
    assert {value for curve in curves for value in curve[80:]} == {1.0}
    assert [round(curve[20], 3) for curve in curves] == [0.25, 0.146, 0.07, 0.0]


def test_the_figures_can_be_drawn_and_the_cycles_follow_the_options():
    for name in FIGURES:
        title, panels = drawing(figure=name, **USUAL)
        assert listing(panels, 100, title=title).startswith(title)
    ours, theirs = drawing(figure="cyclical", **SHARED)[1].values()
    same = CyclicalAnnealer(total_steps=40, num_cycles=3, ratio=0.7, shape="cosine", max_beta=0.5)
    assert repr(ours["cosine"]) == repr(same)
    assert repr(theirs["logistic"]) == repr(Annealer(20, "logistic", cyclical=True))


def test_switching_is_the_documented_loop():
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
    (annealer,) = drawing(figure="switching", **USUAL)[1][""].values()
    found = weights(annealer, range(101))
    assert found == expected
    # By hand: the second cycle ends and holds until the switch, and a cycle starts after it.
    end = pytest.approx(0.9938, abs=1e-4)
    assert (found[19], found[20], found[39]) == (end, 0.0, end)
    assert set(found[40:72]) == {1.0}
    assert found[72] == 0.0


def test_an_annealer_that_can_only_be_stepped():
    annealer = Feedback()
    assert weights(annealer, [0, 1, 3]) == [1.0, 0.5, 0.125]
    assert annealer.weight == 1.0  # a copy was stepped


def test_a_listing():
    half = build_annealer("constant", warmup_steps=0, max_beta=0.5)
    panels = {"": {"up": LinearAnnealer(8), "half": half}, "more": {"a": LinearAnnealer(8)}}
    lines = listing(panels, 10, title="Two schedules").split("\n")
    assert (lines[18:21], lines[-2]) == (["", "more", "step      a"], "a │ ▁▂▃▄▅▆▇███│")
    assert lines[:18] == [
        "Two schedules",
        "",
        "step     up   half",
        *(f"{step:4}  {min(step / 8, 1):.3f}  0.500" for step in range(11)),
        "",
        "  up │ ▁▂▃▄▅▆▇███│",  # 0 is blank
        "half │▄▄▄▄▄▄▄▄▄▄▄│",  # one scale for all
        "      steps 0 to 10, full height is β = 1",
    ]


def test_weights_of_any_size():
    for max_beta, shown, scale in (
        (250.0, "125.000", "250"),
        (0.002, "0.00100", "0.002"),  # a small weight keeps its digits
        (0.0, "0.000", "1"),  # never anything: blank, and no division by 0
    ):
        text = listing({"": {"a": LinearAnnealer(2, max_beta)}}, 2, title="t")
        assert text.split("\n")[4].split() == ["1", shown]
        assert text.endswith(f"full height is β = {scale}")
        assert ("█" in text) == (max_beta > 0)


def test_little_is_not_nothing():
    bars = listing({"": {"a": LinearAnnealer(1000)}}, 1000, title="t").split("│")[1]
    assert (bars[:2], bars.count(" "), len(bars)) == (" ▁", 1, 60)


@pytest.mark.parametrize(("num_steps", "apart"), [(25, 1), (1000, 1), (10**7, 10**4)])
def test_every_step_is_drawn_or_1000_of_many(monkeypatch, num_steps, apart):
    drawn: list[Any] = []
    monkeypatch.setattr(schedules, "panel_chart", lambda path, panels, title: drawn.extend(panels))
    annealer, start = CyclicalAnnealer(10, 2), time.perf_counter()
    picture("a.png", {"p": {"cycles": annealer}}, num_steps, title="t")
    assert time.perf_counter() - start < 1
    steps, values = drawn[0].curves["cycles"]
    assert (drawn[0].title, steps) == ("p", list(range(0, num_steps + 1, apart)))
    assert values == [annealer.value_at(step) for step in steps]
