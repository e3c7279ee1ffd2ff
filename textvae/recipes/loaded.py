"""A saved run opened with the sentences of a split.

Real sentences are taken as the model reads them: words out of its vocabulary are `<unk>`, and
sentences are cut or left out where the run's `max_length` says so.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from textvae.batches import BatchLoader
from textvae.config import RunConfig
from textvae.corpus import Corpus
from textvae.diagnostics import Diagnosis, Evaluation
from textvae.files import find_pretrained
from textvae.model import SentenceVAE
from textvae.recipes.runs import (
    evaluation_loader,
    is_changed,
    open_corpus,
    refuse_other_vocabulary,
)
from textvae.run import RunDirectory

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class LoadedRun:
    """A saved run with its best model, and one split of its corpus; build it with `open`."""

    name: str  # the directory's, or the hub id
    run: RunDirectory
    model: SentenceVAE
    corpus: Corpus
    split: str
    loader: BatchLoader
    # None until `evaluate_run` or `diagnose_run`; not so by type, as who reads has had it measured.
    evaluation: Evaluation = None  # type: ignore[assignment]
    diagnosis: Diagnosis = None  # type: ignore[assignment]

    @classmethod
    def open(
        cls,
        name: str | Path,
        split: str = "test",
        *,
        data_dir: str | None = None,
        data_changed: bool = False,
        model: type[SentenceVAE] = SentenceVAE,
        most: int | None = None,
    ) -> Self:
        """Load a saved run's model and one split of its corpus.

        `name` is a run directory, a hub id or "demo", `data_dir` where the corpus is now, if not
        where the run found it, `model` the class of its model; `most` leaves it at so many
        sentences, evenly spread. A DataError if more than half of the corpus' tokens are
        unknown to the model (one of byte-level BPE knows all), or if it is not the corpus that the
        run was trained on: `data_changed` allows that, and marks the corpus' name in all results.
        """
        directory = find_pretrained(name)
        loaded = model.from_pretrained(directory)
        run = RunDirectory.open(directory, model=model.Config)
        corpus = open_corpus(run.config.data_source, run.config.data, data_dir)
        refuse_other_vocabulary(corpus, split, loaded.tokenizer)
        if is_changed(run, corpus, split, allowed=data_changed) or run.data_changed:
            corpus = replace(corpus, name=f"{corpus.name} (data changed)")
        if most is not None:
            corpus = replace(corpus, splits={**corpus.splits, split: spread(corpus[split], most)})
        loader = evaluation_loader(corpus, split, loaded, run.config.data)
        called = directory.resolve().name if directory == Path(name) else str(name)
        return cls(called, run, loaded, corpus, split, loader)

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.run.config


def spread(dataset: "Dataset", most: int) -> "Dataset":
    """At most so many of its sentences, evenly spread over all: files are often sorted."""
    rows = np.arange(most) * len(dataset) // most
    return dataset.select(rows) if most < len(dataset) else dataset
