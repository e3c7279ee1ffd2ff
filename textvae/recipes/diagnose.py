"""A saved run diagnosed, and several on the same sentences."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textvae.batches import BatchLoader
from textvae.corpus import Corpus
from textvae.diagnostics.diagnosis import FactorLabels, diagnose
from textvae.diagnostics.latent_model import Progress, unwrapped
from textvae.model import SentenceVAE
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.runs import evaluation_loader
from textvae.runtime import resolve_precision


def diagnose_run(
    name: str | Path,
    split: str = "test",
    *,
    data_dir: str | None = None,
    num_samples: int = 500,
    seed: int = 0,
    precision: str = "auto",
    model: type[SentenceVAE] = SentenceVAE,
    progress: Progress = unwrapped,
) -> LoadedRun:
    """Measure a saved run in every way there is, and judge it.

    On the embedded corpus, whose factors are known, probes are fitted on the validation split (on
    the test split if that is the one measured). Ctrl-C while the NLL is measured, which comes
    last, leaves a valid estimate from the sentences done by then.

    Args:
        name: A run directory or hub id.
        split: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.
        num_samples: Importance samples K of the NLL, at least 1.
        seed: Seed of all noise, at least 0.
        precision: `"fp32"`, `"bf16"` or `"auto"` (bf16 where the hardware multiplies it): of the
            NLL, see `diagnostics.importance_nll`.
        model: The class of the runs' models.
        progress: Wraps the batches of each pass; see `diagnostics.diagnose`.

    Returns:
        The run, with its diagnosis.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, has no such split or nothing in it, or if more than
            half of its tokens are unknown to the model (a model of byte-level BPE knows all).
        ValueError: If an argument is outside its range, or the split has but one sentence.
    """
    opened = LoadedRun.open(name, split, data_dir=data_dir, model=model)
    settings = {
        "num_samples": num_samples,
        "seed": seed,
        "precision": precision,
    }
    return _diagnosed(opened, settings, progress)


def diagnose_runs(
    names: Sequence[str | Path],
    split: str = "test",
    *,
    data_dir: str | None = None,
    num_samples: int = 500,
    seed: int = 0,
    precision: str = "auto",
    model: type[SentenceVAE] = SentenceVAE,
    progress: Progress = unwrapped,
) -> list[LoadedRun]:
    """Diagnose several runs on the same sentences, so that their NLLs can be compared.

    Args:
        names: Run directories or hub ids.
        split: As for `diagnose_run`, and so are all others.
        data_dir: Where the corpus is now.
        num_samples: Importance samples K.
        seed: Seed of all noise.
        precision: As for `diagnose_run`.
        model: The class of the runs' models.
        progress: Wraps the batches of each pass; see `diagnostics.diagnose`.

    Returns:
        The runs in the order given, up to the one whose NLL was cut short, if one was.

    Raises:
        FileNotFoundError: If a run does not exist.
        DataError: As from `diagnose_run`.
        ValueError: As from `diagnose_run`, if there are fewer than two runs or one comes twice, or
            if they do not predict the same tokens: another corpus, split or vocabulary.
    """
    if len({Path(name).resolve() for name in names}) < max(2, len(names)):
        raise ValueError(f"runs must be at least 2, each another, got {', '.join(map(str, names))}")
    settings = {
        "num_samples": num_samples,
        "seed": seed,
        "precision": precision,
    }
    opened = [LoadedRun.open(name, split, data_dir=data_dir, model=model) for name in names]
    _refuse_other_tokens(opened)
    found: list[LoadedRun] = []
    for each in opened:
        found.append(_diagnosed(each, settings, progress))
        if found[-1].diagnosis.interrupted:
            break
    return found


def _diagnosed(opened: LoadedRun, settings: dict[str, Any], progress: Progress) -> LoadedRun:
    loader, probes_on = opened.loader, _probe_loader(opened)
    diagnosis = diagnose(
        opened.model,
        loader.epoch(0),
        loader.num_sentences,
        **settings | {"precision": resolve_precision(settings["precision"], opened.model.device)},
        factors=None if probes_on is None else _factors(opened, probes_on),
        beta=opened.run.last_beta(),
        free_bits=opened.config.training.free_bits,
        progress=progress,
    )
    return dataclasses.replace(opened, diagnosis=diagnosis)


def _probe_split(run: LoadedRun) -> str:
    return "test" if run.split == "valid" else "valid"


def _probe_loader(run: LoadedRun) -> BatchLoader | None:
    """Sentences to fit probes on; None if there are none, or nothing to probe for."""
    corpus, split = run.corpus, _probe_split(run)
    known = set(corpus[run.split].column_names) > {"text"}
    if not known or split not in corpus.splits or run.model.latent_dim == 0:
        return None
    return evaluation_loader(corpus, split, run.tokenizer, run.config.data)


def _factors(run: LoadedRun, loader: BatchLoader) -> FactorLabels:
    return FactorLabels(
        fit_batches=loader.epoch(0),
        fit_num_sentences=loader.num_sentences,
        fit_labels=_labels(run.corpus, _probe_split(run), loader),
        labels=_labels(run.corpus, run.split, run.loader),
    )


def _labels(corpus: Corpus, split: str, loader: BatchLoader) -> dict[str, list[str]]:
    """Each factor's values, of the sentences that were not left out for their length."""
    rows = corpus[split].select(loader.split.rows)
    return {name: rows[name][:] for name in rows.column_names if name != "text"}


def _refuse_other_tokens(opened: Sequence[LoadedRun]) -> None:
    first = opened[0]
    for other in opened[1:]:
        if _tokens(other) != _tokens(first):
            raise ValueError(
                "runs must predict the same tokens to be compared: "
                f"{_described(first)}, {_described(other)}"
            )


def _tokens(run: LoadedRun) -> str:
    """A hash of every token that is predicted."""
    split = run.loader.split
    hashed = hashlib.sha256(run.tokenizer.fingerprint.encode())
    hashed.update(split.lengths.tobytes())
    for index in range(len(split)):
        hashed.update(split.sentence(index).tobytes())
    return hashed.hexdigest()


def _described(run: LoadedRun) -> str:
    return (
        f"{run.run.path} has {run.loader.num_tokens:,} of {run.corpus.name} "
        f"({run.split} split, vocabulary of {len(run.tokenizer):,})"
    )
