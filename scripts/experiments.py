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

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from textvae import cli
from textvae.recipes import SweptRun, source_and_sizes, sweep
from textvae.report import pictures
from textvae.report.page import check_study, write_study
from textvae.report.text import markdown, summary

Rows = Sequence[Mapping[str, Any]]


class Experiment(NamedTuple):
    """A question, and by name the configurations that answer it.

    Values, if there are any, are the picture's x axis; else it shows the course of training.
    """

    question: str
    configurations: dict[str, dict[str, Any]]
    values: Sequence[float] = ()
    axis: str = ""


WARMUPS, BETAS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0), (0.1, 1.0, 4.0, 10.0)

RATES, FLOORS = (1e-2, 1e-3, 1e-4, 1e-5), (0.0, 0.02, 0.05, 0.1, 0.2)

STUDIED = {"word_dropout": 0.3}  # so that there is a KL to be studied
# The embedded corpus' training is shorter here than the recipe's, and without dropout.
SHORTER = {"max_epochs": 10, "lr_patience": 2, "embedding_dropout": 0.0, "output_dropout": 0.0}
KINDS = {"max": 0.1, "mask": 0.1, "total": 1.6, "target": 1.6}  # each of 1.6 nats
ALONE = {"annealer": "constant"}

EXPERIMENTS = {
    "warmup": Experiment(
        "How long should the KL weight take to rise?",
        # Five epochs at full weight follow, so that all have time to lose their KL.
        {f"{n:g} epochs": {"warmup_epochs": n, "max_epochs": int(n) + 5} for n in WARMUPS},
        WARMUPS,
        "warm-up, epochs",
    ),
    # Trained at other weights than 1, and measured at 1 like everything else.
    "beta": Experiment(
        "What does a KL weight other than 1 do?",
        {f"β = {b:g}": {"max_beta": b} for b in BETAS},
        BETAS,
        "β in training",
    ),
    # SGD at its own rate: at Adam's it would not move. AdamW as courses have it, and stronger: a
    # decay of 1e-5 at a rate of 1e-3 multiplies weights by 1 − 1e-8 a step, which is 1 in fp32.
    "optimizers": Experiment(
        "Which optimizer?",
        {
            "Adam, 1e-3": {"optimizer": "adam", "lr": 1e-3},
            "AdamW, 1e-3, decay 1e-5": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-5},
            "AdamW, 1e-3, decay 0.1": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1},
            "SGD, 0.1, momentum 0.9": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1},
        },
    ),
    "learning-rates": Experiment(
        "Which learning rate?",
        {f"{rate:g}": {"optimizer": "adam", "lr": rate} for rate in RATES},
        RATES,
        "learning rate",
    ),
    # Without annealing, so that nothing else keeps the KL up.
    "free-bits": Experiment(
        "How much KL do free bits keep, and which kind of them?",
        {f"batch, {floor:g}": {**ALONE, "free_bits": floor} for floor in FLOORS}
        | {
            f"{kind}, {floor:g}": {**ALONE, "free_bits": floor, "free_bits_kind": kind}
            for kind, floor in KINDS.items()
        },
    ),
    # Products in bf16 with all else in fp32, as `--precision auto` trains where hardware can.
    "precision": Experiment(
        "Does training in bf16 cost anything?",
        {name: {"precision": name} for name in ("fp32", "bf16")},
    ),
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
    if experiment.values:
        over = {"xlabel": experiment.axis, "logx": True}
        keys = {"rec, nats": "rec", "KL, nats": "kl", "−ELBO, nats": "loss"}
        keys["active dimensions"] = "active"
        value_of = dict(zip(experiment.configurations, experiment.values, strict=True))
        seeds = dict.fromkeys(row["seed"] for row in rows)
        bands = {}
        for title, key in keys.items():
            by_seed = ([r for r in rows if r["seed"] == seed] for seed in seeds)
            curves = [[(value_of[r["name"]], r[key]) for r in own] for own in by_seed]
            bands[title] = {"mean and range over seeds": curves}
    else:
        over, columns = {"xlabel": "epoch"}, {"−ELBO, nats": 1, "KL, nats": 2}
        bands = {title: over_training(rows, column) for title, column in columns.items()}
    panels = [pictures.seeds_panel(band, ylabel=title, **over) for title, band in bands.items()]
    pictures.panel_chart(path, panels, title=experiment.question)


def over_training(rows: Rows, column: int) -> dict[str, list[list[tuple[float, float]]]]:
    """By configuration, its seeds' curves: a column of `curve` over the first one."""
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for row in rows:
        points = [(point[0], point[column]) for point in row["curve"]]
        curves.setdefault(row["name"], []).append(points)
    return curves


@dataclass(frozen=True, kw_only=True)
class Study:
    """The options of every study."""

    data_dir: Annotated[str | None, "Penn Treebank, or another corpus"] = None
    seeds: Annotated[Sequence[int], "as in [0,1,2]"] = (0, 1, 2)
    jobs: Annotated[int | None, "runs at a time (default: one per core)"] = None
    runs_dir: Annotated[str, "where runs are kept"] = "runs/experiments"
    results_dir: Annotated[str, "where results are written"] = "results"


def report(experiment: Experiment, rows: Rows) -> str:
    """What was asked and measured, and the table."""
    what = "Validation data, nats per sentence, mean ± sd over seeds."
    table = markdown(summary(rows, COLUMNS))
    return f"{experiment.question} {what}\n\n{table}\n"


def run(experiment: Annotated[Literal[*EXPERIMENTS], "which one"], *, study: Study) -> None:
    """Exercises of VAE courses as experiments: train what is not trained yet, then write."""
    asked = EXPERIMENTS[experiment]
    corpus, source, sizes = source_and_sizes(study.data_dir)
    path = Path(study.results_dir) / corpus / experiment
    check_study(path)
    base = {**sizes, **STUDIED, **(SHORTER if corpus == "grammar" else {})}
    parts = base, asked.configurations, study.seeds, Path(study.runs_dir) / corpus
    rows = [figures(one) for one in sweep(source, *parts, jobs=study.jobs)]
    content, text = {"question": asked.question, "runs": rows}, report(asked, rows)
    print(write_study(path, text, content, partial(draw, asked, rows)))


def main() -> int:
    """Parse, train, write."""
    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
