"""The commands: `textvae train | evaluate | diagnose | compare | sample | reconstruct | …`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 training
failed (or, with a traceback, a mistake of ours), 2 wrong input, 130 interrupted. Each command is a
typed function; the other names are what scripts share with `textvae train`.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache

from jsonargparse import ArgumentParser

from textvae import __version__
from textvae.cli import measuring, places, writing
from textvae.cli.command import (
    Given,
    Parser,
    call,
    config_first,
    exit_code_of,
    parsed,
    parser_of,
    run,
)
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
    given = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        options = parsed(parser_of_all(), given[:1] + config_first(given[1:]))
        call(COMMANDS[options.subcommand], options[options.subcommand])

    return exit_code_of(command)


@cache
def parser_of_all() -> ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="textvae",
        description="Train text VAEs, see whether they collapsed, and write with them.",
        version=__version__,
    )
    subcommands = parser.add_subcommands(required=True)
    for name, command in COMMANDS.items():
        own = parser_of(command)
        subcommands.add_subcommand(name, own, help=own.description)
    return parser
