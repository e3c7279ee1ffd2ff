"""`textvae diagnose` and `textvae compare`: whether, how far and why a run has collapsed.

Ctrl-C while the NLL is measured shows what there is by then, a valid estimate from a random part of
the sentences, and then ends with exit code 130. Before that there is nothing to show.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_data, add_run, say
from textvae.runtime import current, is_first, join, leave

if TYPE_CHECKING:
    from textvae.batches import BatchLoader
    from textvae.recipes import LoadedRun, Progress

__all__ = ["COMMANDS"]

STAGES = {
    "elbo": "ELBO",
    "posteriors": "posteriors",
    "ablation": "ablation of z",
    "factors": "factors",
    "nll": "NLL",
}
SHARED = {"elbo", "nll"}
"""Stages whose batches several processes share."""


def _diagnose(options: Namespace) -> None:
    from textvae import recipes, report

    _check_report(options)
    with _progress() as progress:
        found = recipes.diagnose_run(options.run, **_settings(options), progress=progress)
    leave()
    if not is_first():
        return
    if options.json:
        _print_json(_plain(found))
    else:
        print(report.diagnosis_text(found))
    if options.report is not None:
        report.write_page(found, options.report)
        say(f"the report is in {options.report}")
    _end_if_cut_short([found])


def _compare(options: Namespace) -> None:
    from textvae import recipes, report

    _check_report(options)
    with _progress() as progress:
        found = recipes.diagnose_runs(options.runs, **_settings(options), progress=progress)
    leave()
    if not is_first():
        return
    if options.json:
        _print_json({"runs": [_plain(each) for each in found]})
    else:
        print(report.comparison_text(found))
    if options.report is not None:
        report.write_comparison(found, options.report)
        say(f"the report is in {options.report}")
    for run in options.runs[len(found) :]:
        say(f"not measured: {run}")
    _end_if_cut_short(found)


def _settings(options: Namespace) -> dict[str, Any]:
    names = ("split", "data_dir", "num_samples", "num_repeats", "seed", "precision")
    return {name: options[name] for name in names} | {"processes": join(cpu=True)}


def _plain(found: LoadedRun) -> dict[str, Any]:
    origin = {"run": str(found.run.path), "corpus": found.corpus.name, "split": found.split}
    return origin | found.diagnosis.to_dict()


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, allow_nan=False))


def _check_report(options: Namespace) -> None:
    """Before minutes are spent on what can't be written."""
    from textvae import report

    if options.report is not None:
        report.check_page(options.report)


def _end_if_cut_short(runs: Sequence[LoadedRun]) -> None:
    for run in runs:
        found = run.diagnosis
        if found.nll_is_partial:
            say(
                f"interrupted: the NLL of {run.name} is of {found.nll_num_sentences:,} of its "
                f"{found.num_sentences:,} sentences"
            )
            sys.stdout.flush()
            raise KeyboardInterrupt


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error for each stage, gone when it is done."""
    from tqdm import tqdm

    bars: list[tqdm[Any]] = []

    def stage(name: str, loader: BatchLoader) -> Callable[[], None]:
        while bars:
            bars.pop().close()
        bar = tqdm(
            total=loader.num_sentences,
            desc=STAGES[name],
            unit=" sentences",
            leave=False,
            disable=not is_first(),
        )
        bars.append(bar)
        at_once = current().world if name in SHARED else 1
        begun = 0

        def batch() -> None:
            nonlocal begun
            # Batches come in any order, so each counts as one of average size.
            done = min(begun * at_once, len(loader))
            bar.update(done * loader.num_sentences // len(loader) - bar.n)
            begun += 1

        return batch

    try:
        yield stage
    finally:
        while bars:
            bars.pop().close()


def _diagnose_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    _add_settings(parser)


def _compare_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=str, nargs="+", help="run directories or hub ids, at least 2")
    _add_settings(parser)


def _add_settings(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--num-samples", default=500, type=int, help="importance samples K of the NLL"
    )
    parser.add_argument(
        "--num-repeats", default=1, type=int, help="independent estimates of it, for their spread"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all noise")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="of the NLL: fp32, bf16 (thousandths of a nat off), or auto: bf16 where it is fast",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--report", type=str | None, help="also write this HTML file")


COMMANDS = (
    Command(
        "diagnose",
        "whether, how far and why a run has collapsed, and what to try",
        _diagnose_arguments,
        _diagnose,
    ),
    Command("compare", "diagnoses of several runs side by side", _compare_arguments, _compare),
)
