"""`textvae diagnose` and `textvae compare`: whether, how far and why a run has collapsed.

Ctrl-C while the NLL is measured shows what there is by then, a valid estimate from a random part of
the sentences, and then ends with exit code 130. Before that there is nothing to show.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_data, add_run, say

if TYPE_CHECKING:
    from textvae.batches import Batch
    from textvae.recipes import LoadedRun

__all__ = ["COMMANDS"]


def _diagnose(options: Namespace) -> None:
    from textvae import recipes, report

    _check_report(options)
    found = recipes.diagnose_run(options.run, **_settings(options), progress=_progress)
    if options.json:
        _print_json(_plain(found))
    else:
        print(report.diagnosis_text(found))
    if options.report is not None:
        examples = recipes.examples_of(found, num_samples=10, num_steps=7)
        report.write_page(found, examples, options.report)
        say(f"the report is in {options.report}")
    _end_if_cut_short([found])


def _compare(options: Namespace) -> None:
    from textvae import recipes, report

    _check_report(options)
    found = recipes.diagnose_runs(options.runs, **_settings(options), progress=_progress)
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
    names = ("split", "data_dir", "num_samples", "seed", "precision")
    return {name: options[name] for name in names}


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
        if found.interrupted:
            measured = 0 if found.nll is None else found.nll.num_sentences
            say(
                f"interrupted: the NLL of {run.name} is of {measured:,} of its "
                f"{found.elbo.num_sentences:,} sentences"
            )
            sys.stdout.flush()
            raise KeyboardInterrupt


def _progress(batches: Sequence[Batch], title: str) -> Iterable[Batch]:
    """A bar on standard error, gone when it is done."""
    from tqdm import tqdm

    return tqdm(batches, title, unit=" batches", leave=False)


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
