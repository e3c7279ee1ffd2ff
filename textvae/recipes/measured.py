"""Saved runs measured on a split, and told what to try next."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textvae import generation
from textvae.batches import BatchLoader
from textvae.checks import InputError, choose
from textvae.corpus import Corpus
from textvae.diagnostics import (
    FactorLabels,
    LogPrior,
    Progress,
    diagnose,
    evaluate,
    standard_normal,
    unwrapped,
)
from textvae.files import write_json
from textvae.model import SentenceVAE
from textvae.recipes.advice import next_step
from textvae.recipes.loaded import LoadedRun, spread
from textvae.recipes.runs import evaluation_loader, open_corpus
from textvae.run import RunDirectory
from textvae.runtime import current


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

    Gives the run with its `evaluation`, and what `results.json` now holds. Of the processes that
    trained it all must call this.
    """
    run = RunDirectory.open(output_dir, model=model.Config)
    splits = open_corpus(run.config.data_source, run.config.data).splits
    measured = evaluate_run(output_dir, "test" if "test" in splits else "valid", model=model)
    last, kept = run.evaluations()[-1], run.kept_evaluation()
    results = {
        "corpus": measured.corpus.name,
        "split": measured.split,
        "given": [*measured.model.labels.values],
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


def diagnose_run(name: str | Path, split: str = "test", **options: Any) -> LoadedRun:
    """A saved run with its `diagnosis`; options are those of `diagnose_runs`."""
    return diagnose_runs([name], split, **options)[0]


def diagnose_runs(
    names: Sequence[str | Path],
    split: str = "test",
    *,
    num_samples: int = 500,
    seed: int = 0,
    prior: str | None = None,
    progress: Progress = unwrapped,
    **options: Any,
) -> list[LoadedRun]:
    """Saved runs with their `diagnosis`: measured in every way there is, and judged.

    All must predict the same tokens, so that their NLLs can be compared. Ctrl-C leaves an NLL of
    the sentences done by then, and runs that were still to come are left out. Where
    labels name classes, as the embedded corpus' factors do, probes are fitted on the validation
    split (on the test split if that is the one measured). With a `prior`, "gaussian" or "gmm", the
    NLL is also that of a model whose z is drawn so, from what is fitted to codes of training
    sentences (`generation.sample`). `num_samples`, `seed` and `progress` are as for
    `diagnostics.diagnose`, further options as for `LoadedRun.open`.
    """
    if len({Path(name).resolve() for name in names}) < len(names):
        raise InputError(f"runs must be each another, got {', '.join(map(str, names))}")
    runs = [LoadedRun.open(name, split, **options) for name in names]
    for other in runs[1:]:
        if not _predict_the_same(runs[0], other):
            told = (
                f"{run.run.path} has {run.loader.num_tokens:,} of {run.corpus.name} "
                f"({split} split, vocabulary of {len(run.model.tokenizer):,})"
                for run in (runs[0], other)
            )
            raise InputError(f"runs must predict the same tokens to be compared: {', '.join(told)}")
    found: list[LoadedRun] = []
    for run in runs:
        diagnosis = diagnose(
            run.model,
            run.loader.epoch(0),
            run.loader.num_sentences,
            num_samples=num_samples,
            seed=seed,
            factors=_factors(run),
            beta=run.run.last_beta(),
            free_bits=run.config.training.free_bits,
            log_prior=None if prior is None else _fitted(run, prior, seed),
            progress=progress,
        )
        judged = replace(run, evaluation=diagnosis.elbo, diagnosis=diagnosis)
        advised = replace(diagnosis, advice=next_step(judged))
        found.append(replace(judged, diagnosis=advised))
        if diagnosis.interrupted:
            break
    return found


def _fitted(run: LoadedRun, prior: str, seed: int) -> LogPrior:
    """Log-density of what `sample` draws from by that name."""
    number_of = choose(generation.FITTED, "prior", prior)
    if run.model.latent_dim == 0:
        return standard_normal  # a language model has no codes, and the same NLL with any prior
    texts = spread(run.corpus["train"], generation.MAX_FITTED)["text"][:]
    components = number_of(len(texts))
    fit = generation.fitted_mixture(run.model, texts, components=components, seed=seed)

    def log_prior(z: Tensor) -> Tensor:
        return torch.from_numpy(fit.score_samples(z.flatten(0, -2).numpy())).view(z.shape[:-1])

    return log_prior


def _predict_the_same(run: LoadedRun, other: LoadedRun) -> bool:
    pairs = zip(run.loader, other.loader, strict=False)
    return (
        run.model.labels.values == other.model.labels.values
        and run.model.tokenizer.fingerprint == other.model.tokenizer.fingerprint
        and run.loader.num_tokens == other.loader.num_tokens
        and all(torch.equal(own.target_ids, theirs.target_ids) for own, theirs in pairs)
    )


def _factors(run: LoadedRun) -> FactorLabels | None:
    """Labels and sentences to fit probes on; None if there are none, or nothing to probe."""
    corpus, fit_split = run.corpus, "test" if run.split == "valid" else "valid"
    if not corpus.factors or fit_split not in corpus.splits or run.model.latent_dim == 0:
        return None
    loader = evaluation_loader(corpus, fit_split, run.model, run.config.data)
    labels = _labels(corpus, fit_split, loader), _labels(corpus, run.split, run.loader)
    return FactorLabels(loader.epoch(0), loader.num_sentences, *labels)


def _labels(corpus: Corpus, split: str, loader: BatchLoader) -> dict[str, list[str]]:
    """Each factor's values, of the sentences that were not left out for their length."""
    rows = corpus[split].select(loader.split.rows)
    return {name: rows[name][:] for name in corpus.factors}
