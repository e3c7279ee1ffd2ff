"""Weights of annealers to look at: `picture` draws them, `listing` writes them out.

Both take annealers by name, of whatever class. `drawing` makes the sets that the command shows.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textvae.annealers import ANNEALERS, KLAnnealer, build_annealer
from textvae.checks import InputError, choose, integer, one_of
from textvae.report.pictures import Panel, panel_chart
from textvae.report.text import bars, table

Annealers = Mapping[str, KLAnnealer]

PACKAGE = "vae-annealing"
NUM_POINTS, NUM_BARS = 1000, 60
NUM_ROWS = 14  # 13 gaps, a prime: no cycles are seen at the same point of each

FIGURES = {  # what tutorials on KL annealing draw, made for 100 steps or epochs
    "shapes": "Shapes of the rise to full weight",
    "cyclical": "Cyclical annealing",
    "switching": "Cycles switched off at 30 and on again at 70",
    "example": "Schedules for one training",
}


class Switched:
    """An annealer whose cycles are switched off at the end of step 30, and on at that of 70."""

    def __init__(self, annealer: Any) -> None:
        self.annealer, self.current_step = annealer, 0

    def __call__(self, kl: Any, /) -> Any:
        """Return `kl` times the weight of the present step."""
        return self.annealer(kl)

    def step(self) -> None:
        """Move on by one step, and throw the switch if it is time."""
        self.annealer.step()
        if self.current_step in (30, 70):
            self.annealer.set_cyclical(self.current_step == 70)
        self.current_step += 1


def drawing(
    names: Sequence[str] = (), figure: str | None = None, **options: Any
) -> tuple[str, dict[str, Annealers]]:
    """A title, and annealers by name in each panel, by its title.

    They are those named (all if none is), or those of a figure of `FIGURES`; options are for all.
    """
    if figure is None:
        return "Weight of the KL term", {"": _named(names or tuple(ANNEALERS), options)}
    if names:
        raise InputError(f"either annealers or --figure can be given, got both: {figure}")
    from textvae.interop.vae_annealing import Annealer

    title, ours = choose(FIGURES, "--figure", figure), ("linear", "cosine", "sigmoid")
    if figure == "shapes":
        logistic = Annealer(options["warmup_steps"], "logistic")
        return title, {"": {**_named(ours, options), f"logistic of {PACKAGE}": logistic}}
    if figure == "cyclical":
        cyclical: Any = build_annealer("cyclical", **options)
        theirs = ("linear", "cosine", "logistic")
        return title, {
            "CyclicalAnnealer: full weight is reached and held": {
                shape: replace(cyclical, shape=shape) for shape in ours
            },
            "Annealer(cyclical=True): starts again at once": {
                shape: Annealer(20, shape, cyclical=True) for shape in theirs
            },
        }
    if figure == "switching":
        return title, {"": {"cosine": Switched(Annealer(20, "cosine", cyclical=True))}}
    example = {
        "none": ANNEALERS["constant"](),
        "cycles of a fifth": ANNEALERS["cyclical"](20),
        "linear over a fifth": ANNEALERS["linear"](20),
        "cosine over a half": Annealer(50, "cosine"),
    }
    return title, {"": example}


def _named(names: Sequence[str], options: Mapping[str, Any]) -> dict[str, KLAnnealer]:
    made: dict[str, KLAnnealer] = {}
    for name in names:
        one_of("annealer", name, (*ANNEALERS, PACKAGE))
        if name == PACKAGE:
            from textvae.interop.vae_annealing import Annealer

            made[name] = Annealer(options["warmup_steps"])
        else:
            made[name] = build_annealer(name, **options)
    return made


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
        top = max(max(curve.values()) for curve in curves.values()) or 1.0
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
