"""A saved run opened with the sentences of a split, and measured on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from textvae.batches import BatchLoader
from textvae.config import RunConfig
from textvae.corpus import Corpus, DataError
from textvae.diagnostics import Evaluation, evaluate
from textvae.diagnostics.diagnosis import Diagnosis
from textvae.files import find_pretrained, write_json
from textvae.model import SentenceVAE
from textvae.recipes.runs import evaluation_loader, open_corpus
from textvae.run import RunDirectory
from textvae.runtime import current
from textvae.tokenizer import UNK_ID, UNK_TOKEN, Tokenizer

MAX_UNKNOWN = 0.5
"""Share of tokens unknown to a model above which a corpus is one of another vocabulary."""

MAX_CHECKED = 10_000
"""Sentences looked at to find that share."""


@dataclass(frozen=True)
class LoadedRun:
    """A saved run with its best model, and one split of its corpus; build it with `open`."""

    name: str
    """What to call it: the directory's name, or the hub id."""
    run: RunDirectory
    model: SentenceVAE
    corpus: Corpus
    split: str
    loader: BatchLoader
    # Not optional by type: who reads a measurement has had it made.
    evaluation: Evaluation = None  # type: ignore[assignment]
    """The model's terms on the split; None until `evaluate_run`."""
    diagnosis: Diagnosis = None  # type: ignore[assignment]
    """All that there is to say of it; None until `diagnose_run`."""

    @classmethod
    def open(
        cls,
        name: str | Path,
        split: str = "test",
        *,
        data_dir: str | None = None,
        model: type[SentenceVAE] = SentenceVAE,
    ) -> Self:
        """Load a saved run's model and one split of its corpus.

        `name` is a run directory or a hub id, `split` one of train, valid and test, `data_dir`
        where the corpus is now, if not where the run found it, `model` the class of its model.

        Raises:
            FileNotFoundError: If there is no such run.
            DataError: If the corpus can't be had, has no such split, or if more than half of its
                tokens are unknown to the model (a model of byte-level BPE knows all).
        """
        directory = find_pretrained(name)
        loaded = model.from_pretrained(directory)
        run = RunDirectory.open(directory, model=model.Config)
        source, data = run.config.data_source, run.config.data
        if data_dir is not None:
            source = f"ptb:{data_dir}" if source.startswith("ptb") else data_dir
        corpus = open_corpus(source, data)
        loader = evaluation_loader(corpus, split, loaded.tokenizer, data)
        _refuse_other_vocabulary(corpus, split, loaded.tokenizer)
        is_local = directory == Path(name)
        called = directory.resolve().name if is_local else str(name)
        return cls(called, run, loaded, corpus, split, loader)

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.run.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's."""
        return self.model.tokenizer


def _refuse_other_vocabulary(corpus: Corpus, split: str, tokenizer: Tokenizer) -> None:
    """An `<unk>` that stands in the text, as in Penn Treebank, is a word like any other."""
    texts = corpus[split]["text"][:MAX_CHECKED]
    encoded = tokenizer.encode_batch(texts)
    num_tokens = sum(map(len, encoded))
    unknown = sum(ids.count(UNK_ID) for ids in encoded) - sum(x.count(UNK_TOKEN) for x in texts)
    if unknown > MAX_UNKNOWN * num_tokens:
        raise DataError(
            f"{corpus.name} is of another vocabulary than the model: "
            f"{unknown / num_tokens:.0%} of the tokens of its {split} split are unknown "
            f"to it, at most {MAX_UNKNOWN:.0%} may be"
        )


def evaluate_run(
    name: str | Path,
    split: str = "test",
    *,
    data_dir: str | None = None,
    seed: int = 0,
    model: type[SentenceVAE] = SentenceVAE,
) -> LoadedRun:
    """A saved run with its `evaluation`, the true ELBO on a split; see `LoadedRun.open`.

    Of several processes all must call this; the first measures. `seed` is that of the posterior's
    noise.
    """
    processes = current()
    run = processes.in_turn(lambda: LoadedRun.open(name, split, data_dir=data_dir, model=model))
    batches, num_sentences = run.loader.epoch(0), run.loader.num_sentences
    found = processes.first(lambda: evaluate(run.model, batches, num_sentences, seed=seed))
    return dataclasses.replace(run, evaluation=found)


def finish(
    output_dir: str | Path, *, model: type[SentenceVAE] = SentenceVAE
) -> tuple[LoadedRun, dict[str, Any]]:
    """Measure a trained run on its test split (validation, if there is none) and keep the result.

    Of the processes that trained it all must call this. Gives the run with its `evaluation`, and
    what `results.json` now holds: that, and how the run went.
    """
    run = RunDirectory.open(output_dir, model=model.Config)
    corpus = open_corpus(run.config.data_source, run.config.data)
    measured = evaluate_run(output_dir, "test" if "test" in corpus.splits else "valid", model=model)
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
    if current().is_first:
        write_json(run.results_file, results)
    return measured, results
