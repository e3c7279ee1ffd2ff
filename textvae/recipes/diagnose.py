"""A saved run diagnosed, and several on the same sentences."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textvae.batches import BatchLoader
from textvae.checks import InputError
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
        if _tokens(other) != _tokens(runs[0]):
            raise InputError(
                "runs must predict the same tokens to be compared: "
                f"{_described(runs[0])}, {_described(other)}"
            )
    found: list[LoadedRun] = []
    for run in runs:
        found.append(diagnosed(run, **options))
        if found[-1].diagnosis.interrupted:
            break
    return found


def diagnosed(
    run: LoadedRun,
    *,
    num_samples: int = 500,
    seed: int = 0,
    precision: str = "auto",
    progress: Progress = unwrapped,
) -> LoadedRun:
    """A run with its `diagnosis`: measured in every way there is, and judged.

    On the embedded corpus, whose factors are known, probes are fitted on the validation split (on
    the test split if that is the one measured). Ctrl-C while the NLL is measured, which comes
    last, leaves a valid estimate from the sentences done by then.

    `num_samples` is the K of the NLL, whose `precision` is fp32, bf16 or auto (bf16 where the
    hardware multiplies it); `seed` that of all noise. `progress` wraps the batches of each pass;
    see `diagnostics.diagnose`.
    """
    found = diagnose(
        run.model,
        run.loader.epoch(0),
        run.loader.num_sentences,
        num_samples=num_samples,
        seed=seed,
        precision=resolve_precision(precision, run.model.device),
        factors=_factors(run),
        beta=run.run.last_beta(),
        free_bits=run.config.training.free_bits,
        progress=progress,
    )
    return dataclasses.replace(run, evaluation=found.elbo, diagnosis=found)


def _factors(run: LoadedRun) -> FactorLabels | None:
    """Labels and sentences to fit probes on; None if there are none, or nothing to probe."""
    corpus, fit_split = run.corpus, "test" if run.split == "valid" else "valid"
    known = set(corpus[run.split].column_names) > {"text"}
    if not known or fit_split not in corpus.splits or run.model.latent_dim == 0:
        return None
    loader = evaluation_loader(corpus, fit_split, run.tokenizer, run.config.data)
    return FactorLabels(
        fit_batches=loader.epoch(0),
        fit_num_sentences=loader.num_sentences,
        fit_labels=_labels(corpus, fit_split, loader),
        labels=_labels(corpus, run.split, run.loader),
    )


def _labels(corpus: Corpus, split: str, loader: BatchLoader) -> dict[str, list[str]]:
    """Each factor's values, of the sentences that were not left out for their length."""
    rows = corpus[split].select(loader.split.rows)
    return {name: rows[name][:] for name in rows.column_names if name != "text"}


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
