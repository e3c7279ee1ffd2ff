"""Weights of annealers to look at: `picture` draws them, `listing` writes them out.

Both take annealers by name, of whatever class. `drawing` makes the sets that the command shows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textvae.annealers import (
    ANNEALERS,
    Annealer,
    ConstantAnnealer,
    CyclicalAnnealer,
    KLAnnealer,
    LinearAnnealer,
    build_annealer,
)
from textvae.checks import InputError, choose, integer, one_of
from textvae.report.pictures import Panel, panel_chart
from textvae.report.text import bars, table

Annealers = Mapping[str, KLAnnealer]

PACKAGE = "vae-annealing"
NUM_POINTS, NUM_ROWS, NUM_BARS = 1000, 11, 60


class Drawing(NamedTuple):
    """What is drawn together: a title, and annealers by name in each panel, by its title."""

    title: str
    panels: Mapping[str, Annealers]


class Switched:
    """An annealer whose cycles are switched on or off at the end of these steps, the first 0."""

    def __init__(self, annealer: Annealer, switches: Mapping[int, bool]) -> None:
        self.annealer, self.switches, self.current_step = annealer, dict(switches), 0

    def __call__(self, kl: Any, /) -> Any:
        """Return `kl` times the weight of the present step."""
        return self.annealer(kl)

    def step(self) -> None:
        """Move on by one step, and throw the switch if this one has any."""
        self.annealer.step()
        if self.current_step in self.switches:
            self.annealer.set_cyclical(self.switches[self.current_step])
        self.current_step += 1


def _named(names: Sequence[str], options: Mapping[str, Any]) -> dict[str, KLAnnealer]:
    made: dict[str, KLAnnealer] = {}
    for name in names:
        one_of("annealer", name, (*ANNEALERS, PACKAGE))
        ours = name != PACKAGE
        made[name] = build_annealer(name, **options) if ours else Annealer(options["warmup_steps"])
    return made


def _shapes(options: Mapping[str, Any]) -> dict[str, Annealers]:
    shapes = _named(("linear", "cosine", "sigmoid"), options)
    return {"": {**shapes, f"logistic of {PACKAGE}": Annealer(options["warmup_steps"], "logistic")}}


def _cyclical(options: Mapping[str, Any]) -> dict[str, Annealers]:
    sizes = {"total_steps": options["warmup_steps"], "num_cycles": options["num_cycles"]}
    more = {"ratio": options["cycle_ratio"], "max_beta": options["max_beta"]}
    ours, theirs = ("linear", "cosine", "sigmoid"), ("linear", "cosine", "logistic")
    return {
        "CyclicalAnnealer: full weight is reached and held": {
            shape: CyclicalAnnealer(**sizes, **more, shape=shape) for shape in ours
        },
        "Annealer(cyclical=True): starts again at once": {
            shape: Annealer(20, shape, cyclical=True) for shape in theirs
        },
    }


def _switching(_: Mapping[str, Any]) -> dict[str, Annealers]:
    annealer = Annealer(20, "cosine", cyclical=True)
    return {"": {"cosine": Switched(annealer, {30: False, 70: True})}}


def _example(_: Mapping[str, Any]) -> dict[str, Annealers]:
    annealers = {
        "none": ConstantAnnealer(),
        "cycles of a fifth": CyclicalAnnealer(20),
        "linear over a fifth": LinearAnnealer(20),
        "cosine over a half": Annealer(50, "cosine"),
    }
    return {"": annealers}


# What tutorials on KL annealing draw, made for 100 steps or epochs.
FIGURES: dict[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Annealers]]]] = {
    "shapes": ("Shapes of the rise to full weight", _shapes),
    "cyclical": ("Cyclical annealing", _cyclical),
    "switching": ("Cycles switched off at 30 and on again at 70", _switching),
    "example": ("Schedules for one training", _example),
}


def drawing(names: Sequence[str] = (), figure: str | None = None, **options: Any) -> Drawing:
    """The annealers named (all if none is), or a figure of `FIGURES`, with options for all."""
    if figure is None:
        return Drawing("Weight of the KL term", {"": _named(names or tuple(ANNEALERS), options)})
    if names:
        raise InputError(f"either annealers or --figure can be given, got both: {figure}")
    title, panels = choose(FIGURES, "--figure", figure)
    return Drawing(title, panels(options))


def weights(annealer: KLAnnealer, steps: Sequence[int]) -> list[float]:
    """The weights of a new annealer after each of these steps, which rise."""
    if value_at := getattr(annealer, "value_at", None):
        return [value_at(step) for step in steps]
    annealer, done, found = copy.deepcopy(annealer), 0, []
    for step in steps:
        for _ in range(step - done):
            annealer.step()
        done = step
        found.append(float(annealer(1.0)))
    return found


def picture(
    path: str | Path, panels: Mapping[str, Annealers], num_steps: int, *, title: str
) -> None:
    """Draw the weights of new annealers into a .png, .svg or .pdf file, at most 1,000 of each."""
    steps = _spread(num_steps, NUM_POINTS + 1)
    drawn = [
        Panel(
            curves={name: (steps, weights(one, steps)) for name, one in annealers.items()},
            xlabel="step",
            ylabel="weight of the KL term, β",
            title=heading,
        )
        for heading, annealers in panels.items()
    ]
    panel_chart(path, drawn, title=title)


def listing(panels: Mapping[str, Annealers], num_steps: int, *, title: str) -> str:
    """The weights as text: a table of some eleven steps, and bars, of one scale in each panel."""
    rows, points = _spread(num_steps, NUM_ROWS), _spread(num_steps, NUM_BARS)
    steps = sorted({*rows, *points})
    blocks = [title]
    for heading, annealers in panels.items():
        curves = {
            name: dict(zip(steps, weights(annealer, steps), strict=True))
            for name, annealer in annealers.items()
        }
        top = max((max(curve.values()) for curve in curves.values()), default=0.0) or 1.0
        digits = 3 if top >= 0.1 else 2 - math.floor(math.log10(top))
        lines = [
            {"step": f"{step:,}"} | {name: f"{curves[name][step]:.{digits}f}" for name in curves}
            for step in rows
        ]
        blocks.append("\n".join([heading] * bool(heading) + [table(lines)]))
        width = max(map(len, curves))
        drawn = {name: bars([curves[name][step] for step in points], top) for name in curves}
        scale = f"{'':{width}}  steps 0 to {num_steps:,}, full height is β = {top:g}"
        blocks.append("\n".join([*(f"{n:>{width}} │{d}│" for n, d in drawn.items()), scale]))
    return "\n\n".join(blocks)


def _spread(num_steps: int, most: int) -> list[int]:
    """At most so many whole steps, evenly from 0 to `num_steps`, both included."""
    gaps = min(integer("steps", num_steps, 1), most - 1)
    return [num_steps * i // gaps for i in range(gaps + 1)]
