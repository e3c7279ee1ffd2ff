"""A saved run measured: `evaluate_run` on any split, `finish` after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from textvae.checkpoint import RunDirectory
from textvae.config import RunConfig
from textvae.data import BatchLoader, Corpus
from textvae.diagnostics import Evaluation, evaluate
from textvae.files import write_json
from textvae.hub import find_pretrained
from textvae.model import SentenceVAE
from textvae.recipes.loaders import evaluation_loader, tokenizer_of
from textvae.recipes.runs import open_corpus

__all__ = ["Measured", "Subject", "evaluate_run", "finish", "open_run"]


class Measured(NamedTuple):
    """A saved run, measured.

    Attributes:
        model: The run's best model, with its tokenizer.
        corpus: The corpus.
        split: Which of its splits was measured.
        evaluation: The model's terms on that split.
    """

    model: SentenceVAE
    corpus: Corpus
    split: str
    evaluation: Evaluation


class Subject(NamedTuple):
    """A saved run and the sentences it is to be measured on.

    Attributes:
        model: The run's best model, with its tokenizer.
        corpus: The corpus.
        split: Which of its splits.
        loader: Its batches.
        config: The run's configuration.
    """

    model: SentenceVAE
    corpus: Corpus
    split: str
    loader: BatchLoader
    config: RunConfig


def open_run(name: str | Path, split: str = "test", *, data_dir: str | None = None) -> Subject:
    """Load a saved run's model and one split of its corpus.

    Args:
        name: A run directory or hub id.
        split: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, or has no such split.
    """
    model = SentenceVAE.from_pretrained(name)
    config = RunDirectory.open(find_pretrained(name)).config
    source = config.data_source
    if data_dir is not None:
        source = f"ptb:{data_dir}" if source.startswith("ptb") else data_dir
    corpus = open_corpus(source, config.data)
    loader = evaluation_loader(corpus, split, tokenizer_of(model), config.data)
    return Subject(model, corpus, split, loader, config)


def evaluate_run(
    name: str | Path, split: str = "test", *, data_dir: str | None = None, seed: int = 0
) -> Measured:
    """Measure a saved run's true ELBO on a split of its corpus.

    Args:
        name: A run directory or hub id.
        split: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.
        seed: Seed of the posterior noise.

    Returns:
        Model, corpus, split and evaluation.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, or has no such split.
    """
    subject = open_run(name, split, data_dir=data_dir)
    loader = subject.loader
    evaluation = evaluate(subject.model, loader.epoch(0), loader.num_sentences, seed=seed)
    return Measured(subject.model, subject.corpus, split, evaluation)


def finish(output_dir: str | Path) -> tuple[Measured, dict[str, Any]]:
    """Measure a trained run on its test split (validation, if there is none) and keep the result.

    Args:
        output_dir: Directory of the run.

    Returns:
        The measurement, and what `results.json` now holds: it, and how the run went.
    """
    run = RunDirectory.open(output_dir)
    corpus = open_corpus(run.config.data_source, run.config.data)
    measured = evaluate_run(output_dir, "test" if "test" in corpus.splits else "valid")
    last, kept = run.evaluations()[-1], run.kept_evaluation()
    results = {
        "corpus": measured.corpus.name,
        "split": measured.split,
        **measured.evaluation.to_dict(),
        "beta": kept["beta"],
        "epochs": last["epoch"],
        "best_epoch": kept["epoch"],
        "minutes": round(last["seconds"] / 60, 1),
        "seed": run.config.training.seed,
    }
    write_json(run.results_file, results)
    return measured, results
