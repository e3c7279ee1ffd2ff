"""The commands: `textvae train | evaluate | diagnose | compare | sample | reconstruct | …`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 training
failed (or, with a traceback, a mistake of ours), 2 wrong input, 130 interrupted. Each command is a
typed function; the other names are what scripts share with `textvae train`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser

from textvae import __version__
from textvae.cli import latent, measuring, showing, writing
from textvae.cli.command import (
    Given,
    add_study_options,
    call,
    config_first,
    exit_code_of,
    parser_of,
    run,
)
from textvae.cli.training import (
    OutputDir,
    Resume,
    latest_directory,
    new_directory,
    train,
    train_command,
)
from textvae.runtime import shorten_spin

__all__ = [
    "COMMANDS",
    "Given",
    "OutputDir",
    "Resume",
    "add_study_options",
    "config_first",
    "exit_code_of",
    "latest_directory",
    "main",
    "new_directory",
    "run",
    "train",
]

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "evaluate": measuring.evaluate,
    "diagnose": measuring.diagnose,
    "compare": measuring.compare,
    "quality": measuring.quality,
    "sample": writing.sample,
    "reconstruct": writing.reconstruct,
    "interpolate": writing.interpolate,
    "traverse": writing.traverse,
    "analogy": writing.analogy,
    "jitter": writing.jitter,
    "encode": latent.encode,
    "neighbours": latent.neighbours,
    "schedules": showing.schedules,
    "explore": showing.explore,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code.

    `arguments` are those of the command line by default, without the program's name.
    """
    shorten_spin()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser_of_all().parse_args(given[:1] + config_first(given[1:]))
    chosen = options.subcommand
    return exit_code_of(lambda: call(COMMANDS[chosen], options[chosen]))


def parser_of_all() -> ArgumentParser:
    """The parser of all commands."""
    whole = ArgumentParser(
        prog="textvae",
        description="Train text VAEs, see whether they collapsed, and write with them.",
        version=__version__,
    )
    subcommands = whole.add_subcommands(required=True)
    for name, command in COMMANDS.items():
        own = parser_of(command)
        subcommands.add_subcommand(name, own, help=own.description)
    return whole
