"""A saved run opened with the sentences of a split, and measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from textvae.batches import BatchLoader
from textvae.checks import InputError
from textvae.config import RunConfig
from textvae.corpus import Corpus, DataError
from textvae.diagnostics import (
    Diagnosis,
    Evaluation,
    FactorLabels,
    Progress,
    diagnose,
    evaluate,
    unwrapped,
)
from textvae.files import find_pretrained, write_json
from textvae.model import SentenceVAE
from textvae.recipes.runs import evaluation_loader, open_corpus
from textvae.run import RunDirectory
from textvae.runtime import current
from textvae.tokenizer import UNK_ID, UNK_TOKEN, Tokenizer

MAX_UNKNOWN = 0.5  # share of tokens above which a corpus is of another vocabulary than the model
MAX_CHECKED = 10_000  # sentences looked at to find that share


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
        model: type[SentenceVAE] = SentenceVAE,
    ) -> Self:
        """Load a saved run's model and one split of its corpus.

        `name` is a run directory or a hub id, `data_dir` where the corpus is now, if not where
        the run found it, `model` the class of its model. More than half of the corpus' tokens
        unknown to the model are a DataError (a model of byte-level BPE knows all).
        """
        directory = find_pretrained(name)
        loaded = model.from_pretrained(directory)
        run = RunDirectory.open(directory, model=model.Config)
        corpus = open_corpus(run.config.data_source, run.config.data, data_dir)
        loader = evaluation_loader(corpus, split, loaded.tokenizer, run.config.data)
        _refuse_other_vocabulary(corpus, split, loaded.tokenizer)
        called = directory.resolve().name if directory == Path(name) else str(name)
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
    name: str | Path, split: str = "test", *, seed: int = 0, **options: Any
) -> LoadedRun:
    """A saved run with its `evaluation`, the true ELBO on a split, the posterior's noise by `seed`.

    Options are those of `LoadedRun.open`. Of several processes all must call this; the first
    measures.
    """
    processes = current()
    run = processes.in_turn(lambda: LoadedRun.open(name, split, **options))
    batches, num_sentences = run.loader.epoch(0), run.loader.num_sentences
    found = processes.first(lambda: evaluate(run.model, batches, num_sentences, seed=seed))
    return replace(run, evaluation=found)


def finish(
    output_dir: str | Path, *, model: type[SentenceVAE] = SentenceVAE
) -> tuple[LoadedRun, dict[str, Any]]:
    """Measure a trained run on its test split (validation, if there is none) and keep the result.

    Gives the run with its `evaluation`, and what `results.json` now holds: that, and how the run
    went. Of the processes that trained it all must call this.
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


def diagnose_run(
    name: str | Path,
    split: str = "test",
    *,
    data_dir: str | None = None,
    model: type[SentenceVAE] = SentenceVAE,
    **options: Any,
) -> LoadedRun:
    """A saved run with its `diagnosis`; see `LoadedRun.open`, and `diagnosed` for the options."""
    return diagnosed(LoadedRun.open(name, split, data_dir=data_dir, model=model), **options)


def diagnose_runs(
    names: Sequence[str | Path],
    split: str = "test",
    *,
    data_dir: str | None = None,
    model: type[SentenceVAE] = SentenceVAE,
    **options: Any,
) -> list[LoadedRun]:
    """Diagnose several runs on the same tokens, so that their NLLs can be compared.

    Gives them in the order of their names, up to the one whose NLL was cut short, if one was.
    """
    if len({Path(name).resolve() for name in names}) < max(2, len(names)):
        raise InputError(f"runs must be at least 2, each another, got {', '.join(map(str, names))}")
    runs = [LoadedRun.open(name, split, data_dir=data_dir, model=model) for name in names]
    for other in runs[1:]:
        if not _predict_the_same(runs[0], other):
            told = (
                f"{run.run.path} has {run.loader.num_tokens:,} of {run.corpus.name} "
                f"({split} split, vocabulary of {len(run.tokenizer):,})"
                for run in (runs[0], other)
            )
            raise InputError(f"runs must predict the same tokens to be compared: {', '.join(told)}")
    found: list[LoadedRun] = []
    for run in runs:
        found.append(diagnosed(run, **options))
        if found[-1].diagnosis.interrupted:
            break
    return found


def _predict_the_same(run: LoadedRun, other: LoadedRun) -> bool:
    pairs = zip(run.loader, other.loader, strict=False)
    return (
        run.tokenizer.fingerprint == other.tokenizer.fingerprint
        and run.loader.num_tokens == other.loader.num_tokens
        and all(torch.equal(own.target_ids, theirs.target_ids) for own, theirs in pairs)
    )


def diagnosed(
    run: LoadedRun, *, num_samples: int = 500, seed: int = 0, progress: Progress = unwrapped
) -> LoadedRun:
    """A run with its `diagnosis`: measured in every way there is, and judged.

    Options are those of `diagnostics.diagnose`; Ctrl-C leaves an NLL of the sentences done by then.
    On the embedded corpus, whose factors are known, probes are fitted on the validation split (on
    the test split if that is the one measured).
    """
    found = diagnose(
        run.model,
        run.loader.epoch(0),
        run.loader.num_sentences,
        num_samples=num_samples,
        seed=seed,
        factors=_factors(run),
        beta=run.run.last_beta(),
        free_bits=run.config.training.free_bits,
        progress=progress,
    )
    return replace(run, evaluation=found.elbo, diagnosis=found)


def _factors(run: LoadedRun) -> FactorLabels | None:
    """Labels and sentences to fit probes on; None if there are none, or nothing to probe."""
    corpus, fit_split = run.corpus, "test" if run.split == "valid" else "valid"
    known = set(corpus[run.split].column_names) > {"text"}
    if not known or fit_split not in corpus.splits or run.model.latent_dim == 0:
        return None
    loader = evaluation_loader(corpus, fit_split, run.tokenizer, run.config.data)
    labels = _labels(corpus, fit_split, loader), _labels(corpus, run.split, run.loader)
    return FactorLabels(loader.epoch(0), loader.num_sentences, *labels)


def _labels(corpus: Corpus, split: str, loader: BatchLoader) -> dict[str, list[str]]:
    """Each factor's values, of the sentences that were not left out for their length."""
    rows = corpus[split].select(loader.split.rows)
    return {name: rows[name][:] for name in rows.column_names if name != "text"}
