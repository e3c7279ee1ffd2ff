"""Schedules to look at: `picture` draws the weights of any annealers, `listing` writes them out.

Both take annealers by name, of whatever class. `build` makes one from a line of text such as
`cyclical:ratio=0.8,shape=cosine`, and `FIGURES` holds sets of such lines: the schedules that
tutorials on KL annealing draw.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textvae.annealers import ANNEALERS, Annealer, KLAnnealer, ScheduledAnnealer
from textvae.report.pictures import Panel, panel_chart
from textvae.report.tables import BARS, table

__all__ = ["FIGURES", "KINDS", "Drawing", "Switched", "build", "listing", "picture", "weights"]

Annealers = Mapping[str, KLAnnealer]

PACKAGE = "vae-annealing"

KINDS: dict[str, Callable[..., ScheduledAnnealer]] = {**ANNEALERS, PACKAGE: Annealer}
"""What a line of text may name: our annealers, and the one of the vae-annealing package."""

NUM_POINTS = 1000
NUM_ROWS = 11
NUM_BARS = 60


class Drawing(NamedTuple):
    """What is drawn together.

    Attributes:
        title: Above the picture.
        panels: Title of each panel, and its schedules: a name, and a line of text for `build`.
    """

    title: str
    panels: Mapping[str, Mapping[str, str]]


FIGURES = {
    "shapes": Drawing(
        "Shapes of the rise to full weight",
        {
            "": {
                "linear": "linear",
                "cosine": "cosine",
                "sigmoid": "sigmoid",
                "logistic of vae-annealing": f"{PACKAGE}:shape=logistic",
            }
        },
    ),
    "cyclical": Drawing(
        "Cyclical annealing",
        {
            "CyclicalAnnealer: full weight is reached and held": {
                "linear": "cyclical:shape=linear",
                "cosine": "cyclical:shape=cosine",
                "sigmoid": "cyclical:shape=sigmoid",
            },
            "Annealer(cyclical=True): starts again at once": {
                shape: f"{PACKAGE}:total_steps=20,shape={shape},cyclical=true"
                for shape in ("linear", "cosine", "logistic")
            },
        },
    ),
    "switching": Drawing(
        "Cycles switched off at 30 and on again at 70",
        {
            "": {
                "cosine": f"{PACKAGE}:total_steps=20,shape=cosine,cyclical=true,off=30,on=70",
            }
        },
    ),
    "example": Drawing(
        "Schedules for one training",
        {
            "": {
                "none": "constant",
                "cycles of a fifth": "cyclical:cycle_length=20",
                "linear over a fifth": "linear:warmup_steps=20",
                "cosine over a half": f"{PACKAGE}:total_steps=50,shape=cosine",
            }
        },
    ),
}
"""Figures by name, made for 100 steps or epochs."""


class Switched:
    """An `Annealer` whose cycles are switched off and on while a training goes on.

    Args:
        annealer: The annealer.
        switches: What `set_cyclical` is given at the end of these steps, the first being 0, that
            is after `annealer.step()`.
    """

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


def build(
    spec: str,
    *,
    warmup_steps: int,
    max_beta: float = 1.0,
    num_cycles: int = 4,
    cycle_ratio: float = 0.5,
) -> KLAnnealer:
    """A new annealer from a line of text: `NAME` or `NAME:ARGUMENT=VALUE,…`.

    Args:
        spec: A key of `KINDS`, and what its class is to be called with. `vae-annealing` also knows
            `off` and `on`: the steps at whose end its cycles are switched.
        warmup_steps: As in `build_annealer`, like all others: what holds where the line of text
            says nothing else. The cycles of `vae-annealing` are `warmup_steps` long.
        max_beta: The full weight; that of `vae-annealing` is always 1.
        num_cycles: How many cycles fill `warmup_steps`, unless a `cycle_length` is given.
        cycle_ratio: Part of a cycle spent rising.

    Raises:
        ValueError: If the name, an argument or a value is not possible.
    """
    name, _, rest = spec.partition(":")
    if name not in KINDS:
        raise ValueError(f"an annealer must be one of {', '.join(KINDS)}, got {name!r}")
    known = inspect.signature(KINDS[name]).parameters
    given = _arguments(spec, rest, (*known, "off", "on") if name == PACKAGE else tuple(known))
    shared = {"beta": max_beta, "max_beta": max_beta, "ratio": cycle_ratio}
    shared["warmup_steps"] = warmup_steps
    if "cycle_length" not in given:
        shared |= {"total_steps": warmup_steps, "num_cycles": num_cycles}
    switches = {given.pop(word): word == "on" for word in ("off", "on") if word in given}
    try:
        annealer = KINDS[name](**{key: shared[key] for key in known if key in shared} | given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{spec}: {error}") from None
    return Switched(annealer, switches) if isinstance(annealer, Annealer) and switches else annealer


def _arguments(spec: str, text: str, known: Collection[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        if name not in known or name in arguments or not equals:
            raise ValueError(
                f"{spec}: arguments are {', '.join(known)}, each once, as in a=1, got {pair!r}"
            )
        arguments[name] = _value(value)
    for name in ("off", "on"):
        step = arguments.get(name, 0)
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"{spec}: {name} must be a step, 0 or more, got {step!r}")
    return arguments


def _value(text: str) -> int | float | bool | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


def weights(annealer: KLAnnealer, steps: Sequence[int]) -> list[float]:
    """The weights of a new annealer.

    An annealer that offers `value_at` is asked; of any other, a copy is stepped.

    Args:
        annealer: The annealer, which stays as it is.
        steps: Steps taken before each weight, in rising order.
    """
    value_at = getattr(annealer, "value_at", None)
    if value_at is not None:
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
    """Draw the weights of annealers into a file.

    Up to 1,000 steps each weight is drawn, else 1,000 steps evenly apart.

    Args:
        path: File to write; its ending, .png, .svg or .pdf, is its type.
        panels: Title of each panel, and its new annealers by name.
        num_steps: How many steps are taken, at least 1.
        title: Above the picture.

    Raises:
        ValueError: If `num_steps` is under 1 or the file has another type.
        FileNotFoundError: If the file's directory is not there.
        ImportError: If matplotlib is not installed.
    """
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
    """The weights of annealers as text: a table of some eleven steps, and a line of bars each.

    All bars of a panel have one scale. A weight of 0 is blank, and no other is.

    Args:
        panels: Title of each panel, and its new annealers by name.
        num_steps: How many steps are taken, at least 1.
        title: The first line.

    Raises:
        ValueError: If `num_steps` is under 1.
    """
    rows, bars = _spread(num_steps, NUM_ROWS), _spread(num_steps, NUM_BARS)
    steps = sorted({*rows, *bars})
    blocks = [title]
    for heading, annealers in panels.items():
        curves = {
            name: dict(zip(steps, weights(annealer, steps), strict=True))
            for name, annealer in annealers.items()
        }
        blocks.append("\n".join([heading] * bool(heading) + [_table(curves, rows)]))
        blocks.append(_sketch(curves, bars))
    return "\n\n".join(blocks)


def _table(curves: Mapping[str, Mapping[int, float]], steps: Sequence[int]) -> str:
    top = _top(curves)
    decimals = 3 if top >= 0.1 else 2 - math.floor(math.log10(top))
    return table(
        [
            {"step": f"{step:,}"}
            | {name: f"{curve[step]:.{decimals}f}" for name, curve in curves.items()}
            for step in steps
        ]
    )


def _sketch(curves: Mapping[str, Mapping[int, float]], steps: Sequence[int]) -> str:
    top, width = _top(curves), max(map(len, curves), default=0)
    lines = [
        f"{name:>{width}} │{''.join(_bar(curve[step] / top) for step in steps)}│"
        for name, curve in curves.items()
    ]
    scale = f"steps 0 to {steps[-1]:,}, full height is β = {top:g}"
    return "\n".join([*lines, f"{'':{width}}  {scale}"])


def _bar(part: float) -> str:
    return BARS[max(1, round(part * (len(BARS) - 1)))] if part > 0 else BARS[0]


def _top(curves: Mapping[str, Mapping[int, float]]) -> float:
    """The largest weight shown, or 1 where all are 0."""
    return max((max(curve.values()) for curve in curves.values()), default=0.0) or 1.0


def _spread(num_steps: int, most: int) -> list[int]:
    """At most so many whole steps, evenly from 0 to `num_steps`, both included."""
    if num_steps < 1:
        raise ValueError(f"steps must be at least 1, got {num_steps}")
    gaps = min(num_steps, most - 1)
    return [num_steps * i // gaps for i in range(gaps + 1)]
