"""The exercises of VAE courses as experiments: what warm-up, β, optimizer, rate, free bits do.

    python scripts/experiments.py warmup            # warm-ups of 1 to 50 epochs
    python scripts/experiments.py beta              # β of 0.1, 1, 4, 10
    python scripts/experiments.py optimizers        # Adam, AdamW, SGD with momentum
    python scripts/experiments.py learning-rates    # 1e-2 to 1e-5
    python scripts/experiments.py free-bits         # floors, and the five kinds of them
    python scripts/experiments.py precision         # fp32 and bf16

Each trains the embedded corpus' recipe (with --data-dir, that of Penn Treebank, or the defaults on
any other corpus) with the options in question, several seeds each, and writes a table (Markdown,
JSON) and a picture. Runs that experiments have in common are trained once; a stopped experiment
goes on where it was. All figures are of validation data: these are questions about settings, and
a test set answers none.
"""

from __future__ import annotations

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from textvae import cli
from textvae.recipes import SweptRun, source_and_recipe, sweep
from textvae.report import pictures, studies

Rows = Sequence[Mapping[str, Any]]


class Experiment(NamedTuple):
    """A question and the configurations that answer it.

    Attributes:
        question: In a line.
        configurations: By name, the options that differ from the recipe.
        values: What is put on the picture's x axis for each configuration; None draws the
            course of training instead.
        axis: What that axis is called.
    """

    question: str
    configurations: dict[str, dict[str, Any]]
    values: list[float] | None = None
    axis: str = ""


def warmup(lengths: Sequence[int] = (1, 2, 5, 10, 20, 50)) -> Experiment:
    """Five epochs at full weight follow each warm-up, so that all have time to lose their KL."""
    return Experiment(
        "How long should the KL weight take to rise?",
        {f"{n} epochs": {"warmup_epochs": float(n), "max_epochs": n + 5} for n in lengths},
        [float(n) for n in lengths],
        "warm-up, epochs",
    )


def beta(betas: Sequence[float] = (0.1, 1.0, 4.0, 10.0)) -> Experiment:
    """Trained at other weights than 1, and measured at 1 like everything else."""
    return Experiment(
        "What does a KL weight other than 1 do?",
        {f"β = {b:g}": {"max_beta": b} for b in betas},
        list(betas),
        "β in training",
    )


def optimizers() -> Experiment:
    """SGD at its own rate: at Adam's it would not move. AdamW as courses have it, and stronger.

    A decay of 1e-5 at a rate of 1e-3 multiplies weights by 1 − 1e-8 a step, which is 1 in fp32.
    """
    return Experiment(
        "Which optimizer?",
        {
            "Adam, 1e-3": {"optimizer": "adam", "lr": 1e-3},
            "AdamW, 1e-3, decay 1e-5": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-5},
            "AdamW, 1e-3, decay 0.1": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1},
            "SGD, 0.1, momentum 0.9": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
        },
    )


def learning_rates(rates: Sequence[float] = (1e-2, 1e-3, 1e-4, 1e-5)) -> Experiment:
    """Of Adam."""
    return Experiment(
        "Which learning rate?",
        {f"{rate:g}": {"optimizer": "adam", "lr": rate} for rate in rates},
        list(rates),
        "learning rate",
    )


def free_bits(floors: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2)) -> Experiment:
    """Without annealing, so that nothing else keeps the KL up; kinds at a budget of 1.6 nats."""
    alone = {"annealer": "constant"}
    kinds = {"max": 0.1, "mask": 0.1, "total": 1.6, "target": 1.6}
    return Experiment(
        "How much KL do free bits keep, and which kind of them?",
        {
            **{f"batch, {floor:g}": {**alone, "free_bits": floor} for floor in floors},
            **{
                f"{kind}, {floor:g}": {**alone, "free_bits": floor, "free_bits_kind": kind}
                for kind, floor in kinds.items()
            },
        },
    )


def precision() -> Experiment:
    """Products in bf16 with all else in fp32, as `--precision auto` trains where hardware can."""
    return Experiment(
        "Does training in bf16 cost anything?",
        {name: {"precision": name} for name in ("fp32", "bf16")},
    )


EXPERIMENTS: Mapping[str, Callable[[], Experiment]] = {
    "warmup": warmup,
    "beta": beta,
    "optimizers": optimizers,
    "learning-rates": learning_rates,
    "free-bits": free_bits,
    "precision": precision,
}

COLUMNS = {"rec": "rec", "KL": "kl", "−ELBO": "loss", "AU": "au", "active dims": "active"}


def figures(swept: SweptRun) -> dict[str, Any]:
    """One run's row: its kept weights on validation data, nats per sentence, β = 1."""
    kept = swept.run.kept_evaluation()
    return {
        "name": swept.name,
        "seed": swept.seed,
        "rec": kept["rec"],
        "kl": kept["kl"],
        "loss": -kept["elbo"],
        "au": kept["au"],
        "active": kept["active_dimensions"],
        "epoch": kept["epoch"],
        "curve": [(e["epoch"], -e["elbo"], e["kl"]) for e in swept.run.evaluations()],
    }


def draw(experiment: Experiment, rows: Rows, path: Path) -> None:
    """The picture: figures over the option in question, or over epochs where there is no scale."""
    if experiment.values is None:
        panels = [
            studies.panel(over_epochs(rows, column), xlabel="epoch", ylabel=title)
            for title, column in {"−ELBO, nats": 1, "KL, nats": 2}.items()
        ]
    else:
        measures = {"rec, nats": "rec", "KL, nats": "kl", "−ELBO, nats": "loss"}
        measures["active dimensions"] = "active"
        panels = [
            studies.panel(
                over_values(experiment, rows, key), xlabel=experiment.axis, ylabel=title, logx=True
            )
            for title, key in measures.items()
        ]
    pictures.panel_chart(path, panels, title=experiment.question)


def over_epochs(rows: Rows, column: int) -> dict[str, studies.Band]:
    """A band for each configuration: its seeds' courses of training."""
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for row in rows:
        points = [(point[0], point[column]) for point in row["curve"]]
        curves.setdefault(row["name"], []).append(points)
    return {name: studies.bands(several) for name, several in curves.items()}


def over_values(experiment: Experiment, rows: Rows, key: str) -> dict[str, studies.Band]:
    """One band: a figure over the option in question."""
    assert experiment.values is not None
    value_of = dict(zip(experiment.configurations, experiment.values, strict=True))
    seeds = dict.fromkeys(row["seed"] for row in rows)
    curves = [[(value_of[r["name"]], r[key]) for r in rows if r["seed"] == s] for s in seeds]
    return {"mean and range over seeds": studies.bands(curves)}


def run(options: Namespace) -> None:
    """Train what is not trained yet, then write table and picture."""
    experiment = EXPERIMENTS[options.experiment]()
    name, source, recipe = source_and_recipe(options.data_dir)
    path = Path(options.results_dir) / name / options.experiment
    studies.check(path)
    swept = sweep(
        source,
        recipe,
        experiment.configurations,
        options.seeds,
        Path(options.runs_dir) / name,
        jobs=options.jobs,
    )
    rows = [figures(one) for one in swept]
    content = {"question": experiment.question, "runs": rows}
    text = report(experiment, rows)
    print(studies.write(path, text, content, lambda picture: draw(experiment, rows, picture)))


def report(experiment: Experiment, rows: Rows) -> str:
    """What was asked and measured, and the table."""
    table = studies.markdown(studies.summary(rows, COLUMNS))
    what = "Validation data, nats per sentence, mean ± sd over seeds."
    return f"{experiment.question} {what}\n\n{table}\n"


def main() -> int:
    """Parse, train, write."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("experiment", choices=list(EXPERIMENTS), help="which one")
    cli.add_study_options(parser)
    options = parser.parse_args()
    return cli.exit_code_of(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
