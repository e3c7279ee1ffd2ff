"""The commands: `textvae train | evaluate | diagnose | compare | sample | reconstruct | …`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 training
failed, 2 wrong input, 130 interrupted. Each command is a `Command` in a module of its kind:
`training`, `measuring`, `diagnosing`, `quality`, `writing`, `latent`, `drawing`,
`exploring`.

Also offers what scripts share with it: `add_training_options`, `add_study_options`,
`config_first`, `given_options`, `train`, `new_directory`, `latest_directory` and `exit_code_of`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from textvae import __version__
from textvae.cli import diagnosing, drawing, exploring, latent, measuring, quality, writing
from textvae.cli.command import exit_code_of
from textvae.cli.options import (
    add_study_options,
    add_training_options,
    config_first,
    given_options,
)
from textvae.cli.training import TRAIN, latest_directory, new_directory, train
from textvae.runtime import shorten_spin

__all__ = [
    "add_study_options",
    "add_training_options",
    "config_first",
    "exit_code_of",
    "given_options",
    "latest_directory",
    "main",
    "new_directory",
    "train",
]

COMMANDS = {
    command.name: command
    for command in (
        TRAIN,
        *measuring.COMMANDS,
        *diagnosing.COMMANDS,
        *quality.COMMANDS,
        *writing.COMMANDS,
        *latent.COMMANDS,
        *drawing.COMMANDS,
        *exploring.COMMANDS,
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: As on the command line, without the program's name; its own by default.

    Returns:
        Exit code.
    """
    shorten_spin()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    arguments = arguments[:1] + config_first(arguments[1:])
    options = parser.parse_args(arguments)
    chosen = options[options.subcommand]
    if options.subcommand == TRAIN.name:
        chosen.given = given_options(parser, arguments, TRAIN.name)
    return exit_code_of(lambda: COMMANDS[options.subcommand].run(chosen))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="textvae",
        description="Train text VAEs, see whether they collapsed, and write with them.",
        version=__version__,
    )
    subcommands = parser.add_subcommands(required=True)
    for command in COMMANDS.values():
        own = ArgumentParser(description=command.help)
        command.add_arguments(own)
        subcommands.add_subcommand(command.name, own, help=command.help)
    return parser
