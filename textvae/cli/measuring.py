"""`textvae evaluate`: commands that measure a run."""

from __future__ import annotations

import json

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_data, add_run

__all__ = ["COMMANDS"]


def _evaluate(options: Namespace) -> None:
    from textvae import recipes, report

    measured = recipes.evaluate_run(
        options.run, options.split, data_dir=options.data_dir, seed=options.seed
    )
    if options.json:
        print(json.dumps(measured.evaluation.to_dict()))
    else:
        print(report.evaluation(measured))


def _evaluate_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--seed", type=int, default=0, help="seed of the posterior noise")


COMMANDS = (
    Command(
        "evaluate", "measure a run: true ELBO, KL, active units", _evaluate_arguments, _evaluate
    ),
)
