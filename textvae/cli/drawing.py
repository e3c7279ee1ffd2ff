"""`textvae schedules`: the command that draws."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from textvae.annealers import ANNEALERS
from textvae.cli.command import Command, say


def _schedules(options: Namespace) -> None:
    from textvae.report import pictures, schedules

    if options.plot is not None:
        pictures.checked_path(options.plot)
    warmup_steps = options.warmup_steps
    title, panels = schedules.drawing(
        options.annealers,
        options.figure,
        warmup_steps=options.steps * 4 // 5 if warmup_steps is None else warmup_steps,
        max_beta=options.max_beta,
        num_cycles=options.num_cycles,
        cycle_ratio=options.cycle_ratio,
    )
    if options.plot is None:
        print(schedules.listing(panels, options.steps, title=title))
    else:
        schedules.picture(options.plot, panels, options.steps, title=title)
        say(f"{options.plot} written")


def _schedules_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "annealers",
        nargs="*",
        type=str,
        default=[],  # or the help calls them required
        metavar="ANNEALER",
        help=f"{', '.join(ANNEALERS)} (all these if none is named) or vae-annealing",
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
