"""`textvae train`, and what scripts that train share with it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import Given, Json, print_result, say, shown
from textvae.config import RunConfig
from textvae.runtime import ALONE, current, is_first, join, leave

if TYPE_CHECKING:
    from textvae.corpus import Corpus

OutputDir = Annotated[str | None, "directory of the run (default: runs/CORPUS-N)"]
Resume = Annotated[bool, "continue the run (default: the latest one)"]
DataChanged = Annotated[bool, "resume on another corpus than trained on; marks the results"]
RecipeName = Annotated[
    str | None, "remedies, a+b for several: see textvae recipes (default: default)"
]

JUDGED = 1000  # sentences that the verdict after training is from


def train_run(
    corpus: Corpus | None,
    given: dict[str, Any],
    directory: Path,
    *,
    recipe: str | None,
    command: str,
    data_changed: bool = False,
) -> None:
    """Train, measure on the test split, judge, and print what a person wants to see.

    Of several processes all must call this; the first prints. Without a corpus the run in the
    directory is resumed; `command` is what to type, but for options, to do so.
    """
    from textvae import recipes, report

    if corpus is None:
        options = (recipes.combined(recipe) if recipe else {}) | given
    else:
        options = recipes.chosen(corpus, given, recipe)
        ours = {name: value for name, value in options.items() if name not in given}
        told = ", ".join(f"{name} {value}" for name, value in ours.items())
        say(f"recipe {recipe or recipes.DEFAULT}; chosen for {corpus.name}: {told}")
    try:
        for trainer in recipes.phases(corpus, options, directory, data_changed=data_changed):
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
        say("judging the run on a sample of the validation split")
        judged = recipes.diagnose_run(directory, "valid", most=JUDGED, num_samples=10).diagnosis
        trainer.run.track(trainer.progress.step, {f"verdict/{judged.verdict.verdict}": 1})
        examples = recipes.examples_of(run)
        closing = report.closing(run, results, examples, directory, judged.verdict)
        print(shown(closing, sys.stdout))


def run_directory(name: str, *, is_new: bool) -> Path:
    """The last run `runs/NAME-N`, or a new one after it; FileNotFoundError if there is none."""
    numbers = (path.name.removeprefix(f"{name}-") for path in Path("runs").glob(f"{name}-*"))
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    if not is_new and last == 0:
        raise FileNotFoundError(f"no run to resume at runs/{name}-N: name one with --output-dir")
    return Path("runs") / f"{name}-{last + is_new}"


def train(
    data: Annotated[str | None, "file, directory, grammar, ptb, or hub id"] = None,
    *,
    output_dir: OutputDir = None,
    resume: Resume = False,
    data_changed: DataChanged = False,
    recipe: RecipeName = None,
    given: Given,
) -> None:
    """Train a sentence VAE on a corpus.

    What isn't given is chosen: remedies against posterior collapse by --recipe; epochs, warm-up and
    the rarest word kept by the size of the corpus. Both are printed and kept in config.json.
    """
    from textvae import recipes, run

    if data is None and not (resume and output_dir):
        raise InputError("DATA is missing: a file, a directory, grammar, ptb, or a hub id")
    name = Path(str(data)).name.split(".")[0].removeprefix("ptb:")
    corpus, config = None, RunConfig.from_flat("", given)
    # A run that is continued knows its device; before that is read, processes stay apart.
    processes = ALONE if resume else join(cpu=config.training.device == "cpu")
    if data is not None:
        corpus = processes.in_turn(lambda: recipes.open_corpus(data, config.data))
    directory = Path(output_dir or processes.first(lambda: run_directory(name, is_new=not resume)))
    # A start that was killed before it wrote anything, but its lock, is made again.
    is_left = (directory / run.LOCK).exists() and not run.RunDirectory.is_taken(directory)
    if resume and corpus is not None and not is_left:
        source = run.RunDirectory.open(directory).config.data_source
        if corpus.source != source:
            raise InputError(f"{directory} was trained on {source}, got {corpus.source}")
        corpus = None
    command = f"textvae train {shlex.quote(data) if data else ''}".rstrip()
    train_run(corpus, given, directory, recipe=recipe, command=command, data_changed=data_changed)


def recipes(*, json: Json = False) -> None:
    """List the remedies against posterior collapse that --recipe knows."""
    from textvae.recipes import RECIPES

    known = [{"name": name, **asdict(recipe)} for name, recipe in RECIPES.items()]
    lines = []
    for each in known:
        options = " ".join(f"{name}={value}" for name, value in each["options"].items())
        lines.append(f"{each['name']}: {each['summary']}\n    {each['paper']}")
        lines.append(f"    {each['cost']:g} × the time of linear; {options}")
    lines.append("combine them: textvae train my.txt --recipe pool+bow; any option wins over them")
    print_result(json, known, "\n".join(lines))


def tune(
    data: Annotated[str, "file, directory, grammar, ptb, or hub id"],
    *,
    minutes: Annotated[float, "of the search, in this call"] = 60.0,
    max_trials: Annotated[int | None, "trainings at most (default: as time allows)"] = None,
    output_dir: Annotated[str | None, "directory of the search (default: runs/CORPUS-tune)"] = None,
    json: Json = False,
    given: Given,
) -> None:
    """Find the recipe and settings of the best healthy model, by validation NLL, within a time.

    Called again this goes on; several processes or machines that share the directory work on one
    search. Options that are given are not searched. The winner is a run directory like any other.
    """
    from textvae import recipes, report

    config = RunConfig.from_flat("", given)
    corpus = recipes.open_corpus(data, config.data)
    directory = Path(output_dir or f"runs/{corpus.name}-tune")
    seed = config.training.seed
    trials = recipes.tune(
        corpus, given, directory, minutes=minutes, max_trials=max_trials, seed=seed
    )
    found = recipes.search_record(trials)
    print_result(json, found, report.write_search(directory / "search", found))
