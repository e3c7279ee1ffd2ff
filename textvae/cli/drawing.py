"""`textvae schedules`: the command that draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from textvae.annealers import ANNEALERS
from textvae.cli.command import Command, say

if TYPE_CHECKING:
    from textvae.report.schedules import Drawing

__all__ = ["COMMANDS"]


def _schedules(options: Namespace) -> None:
    from textvae.report import pictures, schedules

    if options.plot is not None:
        pictures.checked_path(options.plot)
    if options.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {options.steps}")
    drawing = _drawing(options)
    warmup_steps = options.warmup_steps
    settings = {
        "warmup_steps": options.steps * 4 // 5 if warmup_steps is None else warmup_steps,
        "max_beta": options.max_beta,
        "num_cycles": options.num_cycles,
        "cycle_ratio": options.cycle_ratio,
    }
    panels = {
        title: {name: schedules.build(spec, **settings) for name, spec in specs.items()}
        for title, specs in drawing.panels.items()
    }
    if options.plot is None:
        print(schedules.listing(panels, options.steps, title=drawing.title))
    else:
        schedules.picture(options.plot, panels, options.steps, title=drawing.title)
        say(f"{options.plot} written")


def _drawing(options: Namespace) -> Drawing:
    """What is asked for: a figure, the annealers named, or all."""
    from textvae.report.schedules import FIGURES, Drawing

    if options.figure is None:
        specs = options.annealers or ANNEALERS
        return Drawing("Weight of the KL term", {"": {spec: spec for spec in specs}})
    if options.annealers:
        raise ValueError(f"either annealers or --figure can be given, got both: {options.figure}")
    if options.figure not in FIGURES:
        raise ValueError(f"--figure must be one of {', '.join(FIGURES)}, got {options.figure!r}")
    return FIGURES[options.figure]


def _schedules_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "annealers",
        nargs="*",
        type=str,
        default=[],  # or the help calls them required
        metavar="ANNEALER",
        help=f"{', '.join(ANNEALERS)} (all these if none is named) or vae-annealing, alone or "
        "with arguments, as in cyclical:ratio=0.8,shape=cosine",
    )
    add("--figure", type=str | None, help="a set: shapes, cyclical, switching or example")
    add("--plot", type=str | None, metavar="FILE", help="picture to write: .png, .svg or .pdf")
    add("--steps", type=int, default=100, help="how many steps (or epochs) are taken")
    add("--warmup-steps", type=int | None, help="until full weight (default: 4/5 of the steps)")
    add("--max-beta", type=float, default=1.0, help="full weight; that of vae-annealing is 1")
    add("--num-cycles", type=int, default=4, help="how many cycles fill the warm-up")
    add("--cycle-ratio", type=float, default=0.5, help="part of a cycle spent rising")


COMMANDS = (
    Command(
        "schedules",
        "show the KL weight of any annealers: a table, or a picture",
        _schedules_arguments,
        _schedules,
    ),
)
