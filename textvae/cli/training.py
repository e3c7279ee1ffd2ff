"""`textvae train`, and what scripts that train share with it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, say
from textvae.cli.options import add_training_options
from textvae.runtime import ALONE, current, is_first, join, leave

if TYPE_CHECKING:
    from textvae.corpus import Corpus

__all__ = ["TRAIN", "latest_directory", "new_directory", "train"]

NO_DATA = "DATA is missing: a file, a directory, grammar, ptb, or a hub id"


def train(corpus: Corpus | None, options: dict[str, Any], directory: Path, *, command: str) -> None:
    """Train, measure on the test split, and print what a person wants to see.

    Of several processes all must call this; the first prints.

    Args:
        corpus: The corpus of a new run; None resumes the run in `directory`.
        options: Configuration fields that differ from the defaults.
        directory: Of the run.
        command: What to type, but for options, to resume.

    Raises:
        KeyboardInterrupt: After Ctrl-C, with the training state saved.
    """
    from textvae import recipes, report

    try:
        for trainer in recipes.phases(corpus, options, directory):
            say(*report.run_heading(trainer, corpus).split("\n"))
            say(f"training ended: {trainer.fit()}")
    except KeyboardInterrupt:
        where = shlex.quote(str(directory))
        several = f" in {current().world} processes" if current() != ALONE else ""
        say(f"interrupted; to go on{several}: {command} --output-dir {where} --resume")
        raise
    run, results = recipes.finish(directory)
    leave()
    if is_first():
        print(report.closing(run, results, recipes.examples_of(run), directory))


def new_directory(name: str) -> Path:
    """The first of `runs/NAME-1`, `runs/NAME-2`, … that is not taken."""
    return Path("runs") / f"{name}-{max(_taken(name), default=0) + 1}"


def latest_directory(name: str) -> Path:
    """The last run of that name.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not _taken(name):
        raise FileNotFoundError(f"no run to resume at runs/{name}-N: name one with --output-dir")
    return Path("runs") / f"{name}-{max(_taken(name))}"


def _taken(name: str) -> list[int]:
    numbers = (path.name.removeprefix(f"{name}-") for path in Path("runs").glob(f"{name}-*"))
    return [int(number) for number in numbers if number.isdecimal()]


def _train(options: Namespace) -> None:
    from textvae import recipes
    from textvae.config import RunConfig

    if options.data is None and options.output_dir is None:
        raise ValueError(NO_DATA)
    name = Path(str(options.data)).name.split(".")[0].removeprefix("ptb:")
    corpus, directory = None, Path(options.output_dir) if options.output_dir else None
    # A run that is continued knows its device; before that is read, processes stay apart.
    processes = ALONE if options.resume else join(cpu=options.device == "cpu")
    if options.data is not None:
        config = RunConfig.from_flat("", options.given)
        corpus = processes.in_turn(lambda: recipes.open_corpus(options.data, config.data))
    if options.resume:
        directory = directory or latest_directory(name)
        recipes.refuse_other_corpus(directory, corpus)
        corpus = None
    elif corpus is None:
        raise ValueError(NO_DATA)
    directory = directory or processes.first(lambda: new_directory(name))
    command = f"textvae train {shlex.quote(options.data) if options.data else ''}".rstrip()
    train(corpus, options.given, directory, command=command)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "data", nargs="?", type=str | None, help="file, directory, grammar, ptb, or hub id"
    )
    add_training_options(parser)


TRAIN = Command("train", "train a sentence VAE on a corpus", _arguments, _train)
