"""A saved run measured: `evaluate_run` on any split, `finish` after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from textvae.batches import BatchLoader
from textvae.config import RunConfig
from textvae.corpus import Corpus, DataError
from textvae.diagnostics import Evaluation, evaluate
from textvae.files import find_pretrained, write_json
from textvae.model import SentenceVAE
from textvae.recipes.loaders import evaluation_loader
from textvae.recipes.runs import open_corpus
from textvae.run import RunDirectory
from textvae.runtime import ALONE, Processes, current
from textvae.tokenizer import UNK_ID, UNK_TOKEN

__all__ = ["Measured", "Subject", "evaluate_run", "finish", "open_run"]


MAX_UNKNOWN = 0.5
"""Share of tokens unknown to a model above which a corpus is one of another vocabulary."""

MAX_CHECKED = 10_000
"""Sentences looked at to find that share."""


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
        DataError: If the corpus can't be had, has no such split, or if more than half of its tokens
            are unknown to the model (a model of byte-level BPE knows all).
    """
    model = SentenceVAE.from_pretrained(name)
    config = RunDirectory.open(find_pretrained(name)).config
    source = config.data_source
    if data_dir is not None:
        source = f"ptb:{data_dir}" if source.startswith("ptb") else data_dir
    corpus = open_corpus(source, config.data)
    loader = evaluation_loader(corpus, split, model.tokenizer, config.data)
    subject = Subject(model, corpus, split, loader, config)
    _refuse_other_vocabulary(subject)
    return subject


def _refuse_other_vocabulary(subject: Subject) -> None:
    """Raise if more than half of a split's tokens are unknown to the model.

    An `<unk>` that stands in the text, as in Penn Treebank, is a word like any other.
    """
    texts = subject.corpus[subject.split]["text"][:MAX_CHECKED]
    encoded = subject.model.tokenizer.encode_batch(texts)
    num_tokens = sum(map(len, encoded))
    unknown = sum(ids.count(UNK_ID) for ids in encoded) - sum(x.count(UNK_TOKEN) for x in texts)
    if unknown > MAX_UNKNOWN * num_tokens:
        raise DataError(
            f"{subject.corpus.name} is of another vocabulary than the model: "
            f"{unknown / num_tokens:.0%} of the tokens of its {subject.split} split are unknown "
            f"to it, at most {MAX_UNKNOWN:.0%} may be"
        )


def evaluate_run(
    name: str | Path,
    split: str = "test",
    *,
    data_dir: str | None = None,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Measured:
    """Measure a saved run's true ELBO on a split of its corpus.

    Args:
        name: A run directory or hub id.
        split: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.
        seed: Seed of the posterior noise.
        processes: Who shares the work; all must call this.

    Returns:
        Model, corpus, split and evaluation.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, has no such split, or if more than half of its tokens
            are unknown to the model (a model of byte-level BPE knows all).
    """
    subject = processes.in_turn(lambda: open_run(name, split, data_dir=data_dir))
    loader = subject.loader
    evaluation = evaluate(
        subject.model, loader.epoch(0), loader.num_sentences, seed=seed, processes=processes
    )
    return Measured(subject.model, subject.corpus, split, evaluation)


def finish(output_dir: str | Path) -> tuple[Measured, dict[str, Any]]:
    """Measure a trained run on its test split (validation, if there is none) and keep the result.

    Of the processes that trained it all must call this.

    Args:
        output_dir: Directory of the run.

    Returns:
        The measurement, and what `results.json` now holds: it, and how the run went.
    """
    run, processes = RunDirectory.open(output_dir), current()
    corpus = open_corpus(run.config.data_source, run.config.data)
    split = "test" if "test" in corpus.splits else "valid"
    measured = evaluate_run(output_dir, split, processes=processes)
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
    if processes.is_first:
        write_json(run.results_file, results)
    return measured, results
