"""The study that annealing was made for: which schedules keep the KL term from vanishing, and why.

On the embedded corpus, the same model without annealing and with each schedule, the same once more
where the decoder may read every word, and the language models as floors; several seeds each. Writes
a table (Markdown, JSON) and the picture of KL and active units over training.

    python scripts/compare_annealers.py
    python scripts/compare_annealers.py --data-dir DIR        # Penn Treebank, or another corpus

A study that was stopped goes on where it was. Figures are of the test split, β = 1, z sampled.
"""

from __future__ import annotations

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from experiments import Rows, Study, over_training, train_all

from textvae import cli, grammar
from textvae.checks import at_least
from textvae.files import read_json, write_json
from textvae.recipes import SweptRun, diagnose_run, finish
from textvae.report import pictures
from textvae.report.page import write_study
from textvae.report.text import markdown, summary

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "no annealing": {"annealer": "constant"},
    "linear": {"annealer": "linear"},
    "sigmoid": {"annealer": "sigmoid"},
    "cosine": {"annealer": "cosine"},
    "cyclical": {"annealer": "cyclical"},
    "cyclical, 10 epochs": {"annealer": "cyclical", "warmup_epochs": 10.0},
    "linear, no word dropout": {"annealer": "linear", "word_dropout": 0.0},
    "language model": {"latent_dim": 0},
    "language model, no word dropout": {"latent_dim": 0, "word_dropout": 0.0},
}

COLUMNS = {
    "rec": "rec",
    "KL": "kl",
    "KL after warm-up": "kl_after_warmup",
    "−ELBO": "loss",
    "IW-NLL": "nll",
    "its se": "nll_se",
    "above entropy": "above_entropy",
    "MI": "mi",
    "AU": "au",
    "factors": "factor_accuracy",
}


FILE = "diagnosis-{}.json"  # of so many samples


def measure(num_samples: int, path: Path) -> None:
    """What is done to each trained run: its test-set figures and its diagnosis, kept beside it."""
    split = finish(path)[0].split
    diagnosis = diagnose_run(path, split, num_samples=num_samples).diagnosis
    if diagnosis.interrupted:
        raise KeyboardInterrupt  # a study has no use for the part that was done by then
    write_json(path / FILE.format(num_samples), {"split": split, **diagnosis.to_dict()})


def figures(swept: SweptRun, num_samples: int, entropy: float | None) -> dict[str, Any]:
    """One run's row."""
    found = read_json(swept.run.path / FILE.format(num_samples))
    evaluations = swept.run.evaluations()
    warmup = swept.run.config.training.warmup_epochs
    after_warmup = [e["kl"] for e in evaluations if e["epoch"] >= warmup]
    accuracies = [factor["accuracy"] for factor in found["factors"]]
    guesses = [factor["majority"] for factor in found["factors"]]
    return {
        "name": swept.name,
        "seed": swept.seed,
        **{key: found[key] for key in ("rec", "kl", "nll", "nll_se", "ppl", "mi", "mi_max", "au")},
        "loss": -found["elbo"],
        "kl_after_warmup": after_warmup[0] if after_warmup else None,
        "above_entropy": None if entropy is None else found["nll"] - entropy,
        "factor_accuracy": fmean(accuracies) if accuracies else None,
        "factor_majority": fmean(guesses) if guesses else None,
        "factors": {factor["name"]: factor["accuracy"] for factor in found["factors"]},
        "verdict": found["verdict"],
        "split": found["split"],
        "num_samples": num_samples,
        "curve": [(e["step"], e["kl"], e["au"]) for e in evaluations],
    }


def draw(rows: Rows, path: Path) -> None:
    """KL and active units over training, mean and range over seeds: the point at a glance."""
    models = [row for row in rows if "language model" not in row["name"]]
    panels = [
        pictures.seeds_panel(over_training(models, column), xlabel="optimizer step", ylabel=label)
        for column, label in ((1, "KL, nats per sentence"), (2, "active units"))
    ]
    pictures.panel_chart(path, panels, title="Validation data over training, by KL schedule")


def report(rows: Rows, entropy: float | None) -> str:
    """What was measured, what to compare it with, and the table."""
    split, num_samples = rows[0]["split"], rows[0]["num_samples"]
    text = f"{split.capitalize()} split, nats per sentence, mean ± sd over seeds"
    text += f"; IW-NLL from {num_samples} importance samples"
    if entropy is not None:
        text += f"; the corpus' entropy, which no model can go below, is {entropy:.2f}"
    guesses = [row["factor_majority"] for row in rows if row["factor_majority"] is not None]
    if guesses:
        text += (
            "; factors: mean accuracy of linear probes of z, where always naming the commonest "
            f"value is right in {fmean(guesses):.2f}"
        )
    return f"{text}.\n\n{markdown(summary(rows, COLUMNS))}\n"


def run(
    *, study: Study, num_samples: Annotated[int, "importance samples of the NLL"] = 100
) -> None:
    """Which schedules keep the KL term from vanishing, and why: train, measure, write."""
    at_least(1, num_samples=num_samples)
    after = partial(measure, num_samples)
    leaves = FILE.format(num_samples)
    path, swept = train_all(study, "annealers", CONFIGURATIONS, afterwards=after, leaves=leaves)
    is_grammar = swept[0].run.config.data_source == "grammar"
    entropy = grammar.entropy() if is_grammar else None
    rows = [figures(one, num_samples, entropy) for one in swept]
    content = {"entropy": entropy, "runs": rows}
    print(write_study(path, report(rows, entropy), content, partial(draw, rows)))


def main() -> int:
    """Parse, train, measure, write."""
    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
