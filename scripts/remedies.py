"""Every remedy against posterior collapse side by side: what it costs, and what z then holds.

    python scripts/remedies.py grammar                                # the embedded corpus
    python scripts/remedies.py ptb --data-dir DIR --seeds [0,1]       # Penn Treebank
    python scripts/remedies.py grammar --rows [vanilla,default]       # some rows only

The same sizes and training for all; only the remedy differs. Runs are measured on the test split,
once each, β = 1, z sampled; nothing is chosen by it. Results are written whenever a run is done.
A study that was stopped goes on where it was; a row that results hold already, of the same options,
is not trained again.
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from experiments import Rows, Study, over_training

from textvae import cli, grammar, recipes
from textvae.checks import InputError, at_least, imported
from textvae.files import read_json, write_json
from textvae.report import pictures
from textvae.report.page import check_study, write_study
from textvae.report.text import markdown, summary
from textvae.run import RunDirectory

ROWS: dict[str, dict[str, Any]] = {
    "language model": {"latent_dim": 0},
    **{name: recipes.combined(name) for name in recipes.RECIPES},
}

# An average is smooth: the first epoch that hardly gains tells that the learning rate is spent.
AVERAGED = {
    **{"average_epochs": 1.0, "warmup_epochs": 5.0},
    **{"lr_patience": 0, "lr_threshold": 5e-4, "lr_decay": 0.25, "max_lr_decays": 2},
}
OURS = "pretrain+pool+average"

# The best within six million parameters: a wide decoder, held back as in Merity et al. 2018.
WIDE = {
    **{"embedding_dim": 200, "decoder_hidden_size": 780, "encoder_hidden_size": 180},
    **{"tied_embeddings": True, "shared_embedding": True, "locked_dropout": True},
    **{"embedding_dropout": 0.4, "recurrent_dropout": 0.4, "output_dropout": 0.4},
    **{"weight_decay": 1.2e-6},
}

OF_OURS = {OURS: {**AVERAGED, "free_bits": 0.2}, "language model+average": AVERAGED}

# Options of a row on Penn Treebank that differ: as its authors published them, or our own.
ON_PTB: dict[str, dict[str, Any]] = {
    "pretrain": {
        **{"warmup_epochs": 10.0, "lr_patience": 4, "max_lr_decays": 4},
        **{"embedding_dropout": 0.5, "output_dropout": 0.5, "free_bits": 5 / 32},
    },
    **OF_OURS,
    **{f"{name}+wide": options for name, options in OF_OURS.items()},
}

COLUMNS = {
    "rec": "rec",
    "KL": "kl",
    "−ELBO": "loss",
    "IW-NLL": "nll",
    "its se": "nll_se",
    "fitted prior": "nll_fitted",
    "PPL": "ppl",
    "above entropy": "above_entropy",
    "MI": "mi",
    "AU": "au",
    "KL(q(z)‖p(z))": "mismatch",
    "factors, nats": "factor_nats",
    "their accuracy": "factor_accuracy",
    "minutes": "minutes",
}

DRAWN = ("vanilla", "linear", "word-dropout", "free-bits", "pretrain", "default")

FILE = "diagnosis-{}.json"  # of so many samples


def measure(num_samples: int, path: Path) -> None:
    """What is done to each trained run: its test-set figures and its diagnosis, kept beside it."""
    split = recipes.finish(path)[0].split
    options: dict[str, Any] = {"num_samples": num_samples, "prior": "gmm"}
    diagnosis = recipes.diagnose_run(path, split, **options).diagnosis
    if diagnosis.interrupted:
        raise KeyboardInterrupt  # a study has no use for the part that was done by then
    write_json(path / FILE.format(num_samples), {"split": split, **diagnosis.to_dict()})


def figures(swept: recipes.SweptRun, num_samples: int, entropy: float | None) -> dict[str, Any]:
    """One run's row."""
    found = read_json(swept.run.path / FILE.format(num_samples))
    factors = {factor["name"]: factor["accuracy"] for factor in found["factors"]}
    information = sum(factor["information"] for factor in found["factors"])
    return {
        "name": swept.name,
        "seed": swept.seed,
        **{key: found[key] for key in ("rec", "kl", "nll", "nll_se", "ppl", "mi", "mi_max", "au")},
        "nll_fitted": found["fitted_prior"]["nll"],
        "loss": -found["elbo"],
        "above_entropy": None if entropy is None else found["nll"] - entropy,
        "mismatch": found["kl"] - found["mi"],
        "factor_nats": information if factors else None,
        "factor_accuracy": sum(factors.values()) / len(factors) if factors else None,
        "factors": factors,
        "verdict": found["verdict"],
        "split": found["split"],
        "num_samples": num_samples,
        "minutes": minutes(swept.run.path),
        "curve": [(e["step"], e["kl"], e["au"]) for e in swept.run.evaluations()],
        **made_by(),
    }


def minutes(path: Path) -> float:
    """Of all phases of a run."""
    phases = [path, *(each.parent for each in path.glob("*/metrics.jsonl"))]
    last = [RunDirectory.open(each).evaluations()[-1] for each in phases]
    return sum(evaluation["seconds"] for evaluation in last) / 60


def made_by() -> dict[str, str]:
    """The code and the processor that a row comes from."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    machine = torch.cpu.get_capabilities().get("cpu_name", "unknown")
    return {"commit": said.stdout.strip() or "unknown", "machine": f"{machine}, one thread"}


def draw(rows: Rows, entropy: float | None, path: Path) -> None:
    """KL over training; and rec against KL, where a decoder that wastes nothing is on the line."""
    shown = [row for row in rows if row["name"] in DRAWN]
    over = over_training(shown, 1)
    panels = [pictures.seeds_panel(over, xlabel="optimizer step", ylabel="KL, nats per sentence")]
    points: dict[str, Any] = {}
    for row in rows:
        xs, ys = points.setdefault(row["name"], ([], []))
        xs.append(row["kl"])
        ys.append(row["rec"])
    if entropy is not None:
        most = max(row["kl"] for row in rows)
        points["_entropy"] = ([0.0, most], [entropy, entropy - most])
    labels = {"xlabel": "KL, nats per sentence", "ylabel": "rec, nats per sentence"}
    panels.append(pictures.Panel(curves=points, scattered=True, **labels))
    pictures.panel_chart(path, panels, title="Remedies: KL over training; what it buys")


def report(rows: Rows, which: str, entropy: float | None) -> str:
    """What was measured, what to compare it with, and the table."""
    split, num_samples = rows[0]["split"], rows[0]["num_samples"]
    text = (
        f"`python scripts/remedies.py {which}`: {split} split, nats per sentence, mean ± sd over "
        f"seeds; IW-NLL from {num_samples} importance samples"
    )
    if any(row["nll_fitted"] for row in rows):
        text += (
            "; fitted prior: the IW-NLL with z drawn as by `textvae sample --from gmm`, from what "
            "is fitted to codes of training sentences"
        )
    if entropy is not None:
        text += (
            f"; the corpus' entropy, which no model can go below, is {entropy:.2f}; factors: what "
            "a linear probe of z finds of the 7.74 nats that the grammar's factors hold, and its "
            "mean accuracy"
        )
    kept = {title: key for title, key in COLUMNS.items() if any(r[key] is not None for r in rows)}
    return f"{text}.\n\n{markdown(summary(rows, kept))}\n"


def run(
    which: Annotated[Literal["grammar", "ptb"], "corpus"],
    *,
    rows: Annotated[Sequence[str], "recipes, a+b too, or 'language model' (default: all)"] = (),
    num_samples: Annotated[int | None, "importance samples (default: 100; ptb: 500)"] = None,
    study: Study,
) -> None:
    """Every remedy on one corpus: train what is not trained yet, measure, write."""
    samples = {"grammar": 100, "ptb": 500}[which] if num_samples is None else num_samples
    at_least(1, num_samples=samples)
    imported("sklearn", 'a fitted prior needs scikit-learn: pip install "textvae[quality]"')
    recipes.refuse_like_seeds(study.seeds)
    _, source, sizes = recipes.source_and_sizes(study.data_dir or which)
    if (which == "ptb") != source.startswith("ptb"):
        raise InputError(f"--data-dir must hold the corpus {which}, got {study.data_dir}")
    path = Path(study.results_dir) / which / "remedies"
    check_study(path)
    file, entropy = path.with_suffix(".json"), grammar.entropy() if which == "grammar" else None
    done: list[dict[str, Any]] = read_json(file)["runs"] if file.exists() else []
    own = ON_PTB if which == "ptb" else ()
    wanted = {name: options_of(name, which) for name in rows or [*ROWS, *own]}
    done = [r for r in done if wanted.get(r["name"], r["options"]) == r["options"]]
    known = {(row["name"], row["seed"]) for row in done}

    def note(swept: recipes.SweptRun) -> None:
        done.append({**figures(swept, samples, entropy), "options": wanted[swept.name]})
        names = list(dict.fromkeys([*ROWS, *wanted, *(row["name"] for row in done)]))
        done.sort(key=lambda row: (names.index(row["name"]), row["seed"]))
        content, text = {"entropy": entropy, "runs": done}, report(done, which, entropy)
        write_study(path, text, content, partial(draw, done, entropy))

    for seed in study.seeds:
        undone = {name: options for name, options in wanted.items() if (name, seed) not in known}
        recipes.sweep(
            *(source, sizes, undone, [seed], Path(study.runs_dir) / which),
            jobs=study.jobs,
            afterwards=partial(measure, samples),
            leaves=FILE.format(samples),
            done=note,
        )
    if done:
        print(report(done, which, entropy))


def options_of(name: str, which: str) -> Mapping[str, Any]:
    """The options of a row."""
    known = {**ROWS, "wide": WIDE}
    parts = [known[part] if part in known else recipes.combined(part) for part in name.split("+")]
    own = ON_PTB.get(name, {}) if which == "ptb" else {}
    return {key: value for part in [*parts, own] for key, value in part.items()}


def main() -> int:
    """Parse, train, measure, write."""
    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
