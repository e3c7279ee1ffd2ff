"""The commands: `textvae train | evaluate | diagnose | compare | sample | reconstruct | …`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 training
failed (or, with a traceback, a mistake of ours), 2 wrong input, 130 interrupted. Each command is a
typed function; the other names are what scripts share with `textvae train`.
"""

from collections.abc import Callable, Sequence
from functools import cache

from jsonargparse import ArgumentParser

from textvae import __version__
from textvae.cli import measuring, places, writing
from textvae.cli.command import Given, exit_code_of, parser_of_several, run, run_one_of
from textvae.cli.training import (
    DataChanged,
    OutputDir,
    RecipeName,
    Resume,
    recipes,
    run_directory,
    train,
    train_run,
    tune,
)
from textvae.runtime import shorten_spin

COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command
    for command in (
        *(train, tune, recipes, measuring.demo, measuring.evaluate, measuring.diagnose),
        *(measuring.compare, measuring.quality, measuring.score, measuring.push),
        *(writing.sample, writing.reconstruct, writing.interpolate, writing.traverse),
        *(writing.complete, writing.analogy, writing.direction, writing.jitter, places.optimise),
        *(places.encode, places.decode, places.neighbours),
        *(measuring.schedules, measuring.explore),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, with these arguments or those that were typed; gives its exit code."""
    shorten_spin()
    return run_one_of(COMMANDS, parser_of_all, arguments)


@cache
def parser_of_all() -> ArgumentParser:
    """The parser of all commands."""
    about = "Train text VAEs, see whether they collapsed, and write with them."
    return parser_of_several(COMMANDS, prog="textvae", description=about, version=__version__)
