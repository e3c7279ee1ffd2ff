"""A saved run opened with the sentences of a split, measured on them, and shown by examples.

Real sentences are taken as the model reads them: words out of its vocabulary are `<unk>`, and
sentences are cut or left out where the run's `max_length` says so. Samples whose quality is
measured are from the model's own distribution, `<unk>` included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from textvae import generation, quality
from textvae.batches import BatchLoader, EncodedSplit
from textvae.checks import MANY, InputError, at_least, integer
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
from textvae.recipes.advice import next_step
from textvae.recipes.runs import (
    encoded,
    evaluation_loader,
    is_changed,
    open_corpus,
    refuse_other_vocabulary,
)
from textvae.run import RunDirectory
from textvae.runtime import current

PATH_STEPS = 7  # sentences of the interpolation whose factors are read, both ends included


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
        sentences, the split's first. A DataError if more than half of the corpus' tokens are
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
            some = corpus[split].select(range(min(most, len(corpus[split]))))
            corpus = replace(corpus, splits={**corpus.splits, split: some})
        loader = evaluation_loader(corpus, split, loaded, run.config.data)
        called = directory.resolve().name if directory == Path(name) else str(name)
        return cls(called, run, loaded, corpus, split, loader)

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.run.config


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
    progress: Progress = unwrapped,
    **options: Any,
) -> list[LoadedRun]:
    """Saved runs with their `diagnosis`: measured in every way there is, and judged.

    All must predict the same tokens, so that their NLLs can be compared. Ctrl-C leaves an NLL of
    the sentences done by then, and runs that were still to come are left out. Where
    labels name classes, as the embedded corpus' factors do, probes are fitted on the validation
    split (on the test split if that is the one measured). `num_samples`, `seed` and `progress` are
    as for `diagnostics.diagnose`, further options as for `LoadedRun.open`.
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
            progress=progress,
        )
        judged = replace(run, evaluation=diagnosis.elbo, diagnosis=diagnosis)
        advised = replace(diagnosis, advice=next_step(judged))
        found.append(replace(judged, diagnosis=advised))
        if diagnosis.interrupted:
            break
    return found


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


@dataclass(frozen=True)
class Perplexities:
    """Samples (`forward`) and the whole split (`real`) under a language model; EOS is counted."""

    language_model: str
    real: float
    forward: float


@dataclass(frozen=True)
class Grammaticality:
    """Share of the samples that the grammar can say, and what changes along an interpolation."""

    accepted: float
    path: tuple[quality.PathStep, ...] | None


@dataclass(frozen=True)
class Quality:
    """How good a run's sentences are; None is what was not asked for or does not apply."""

    run: str
    corpus: str
    split: str
    seed: int
    temperature: float
    samples: quality.TextFigures
    real: quality.TextFigures
    reconstruction: quality.ReconstructionFigures | None
    perplexities: Perplexities | None
    grammar: Grammaticality | None


def quality_run(
    name: str | Path,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    temperature: float = 1.0,
    language_model: str | Path | None = None,
    **options: Any,
) -> Quality:
    """Measure samples of a saved run beside as many real sentences, and their reconstructions.

    `language_model`, a run with `latent_dim` 0 on the same corpus, is for perplexities (Zhao et al.
    2018, Adversarially Regularized Autoencoders, section 6). `temperature` is that of the samples,
    `seed` also decides which real sentences are drawn; a split that has fewer is taken whole.
    Further options are those of `LoadedRun.open`.
    """
    integer("num_samples", num_samples, 2, most=MANY)
    at_least(0, seed=seed)
    run = LoadedRun.open(name, **options)
    model, tokenizer, split = run.model, run.model.tokenizer, run.loader.split
    judge = None if language_model is None else _language_model(language_model, run)
    training = encoded(run.corpus, "train", model, run.config.data)
    if len(split) < 2:
        raise DataError(f"the {run.split} split must have at least 2 sentences, got 1")
    # The run's own limit, or twice the longest that it was trained on; and one token more, or a
    # sentence that ends right there would look like one that does not.
    limit = run.config.data.max_length or 2 * int(training.lengths.max())
    drawing = dict[str, Any](max_length=limit + 1, temperature=temperature, allow_unknown=True)
    drawn = generation.sample(model, num_samples, seed=seed, **drawing)
    samples = EncodedSplit.from_ids(tokenizer.encode_batch(drawn), max_length=limit)
    rows = np.random.default_rng(seed).permutation(len(split))[:num_samples].tolist()
    real = tokenizer.decode_batch(map(split.sentence, rows))
    both = samples, training
    texts, known = (tokenizer.decode_batch(map(some.sentence, range(len(some)))) for some in both)
    reconstruction = path = perplexities = None
    is_embedded = run.corpus.source == "grammar"
    if model.latent_dim > 0:
        labels = torch.from_numpy(split.labels[rows])
        back = generation.reconstruct(model, real, labels=labels, max_length=limit)
        reconstruction = quality.reconstruction_figures(back, real)
        if is_embedded:
            walk = generation.interpolate(model, *real[:2], steps=PATH_STEPS, labels=labels[:1])
            path = quality.factor_path(walk)
    if judge is not None:
        loaders = run.loader, BatchLoader(samples, batch_size=64, shuffle=False)
        # The ELBO of a language model is exact.
        own = (evaluate(judge, loader.epoch(0), loader.num_sentences) for loader in loaders)
        perplexities = Perplexities(str(language_model), *(found.elbo_ppl for found in own))
    return Quality(
        run=str(name),
        corpus=run.corpus.name,
        split=run.split,
        seed=seed,
        temperature=temperature,
        samples=quality.text_figures(texts, known),
        real=quality.text_figures(real, known),
        reconstruction=reconstruction,
        perplexities=perplexities,
        grammar=Grammaticality(quality.accepted_share(texts), path) if is_embedded else None,
    )


def _language_model(name: str | Path, run: LoadedRun) -> SentenceVAE:
    directory = find_pretrained(name)
    data, model = RunDirectory.open(directory).config.data, SentenceVAE.from_pretrained(directory)
    if (got := model.latent_dim) != 0:
        raise InputError(f"language_model must be a run with latent_dim 0, got {got} in {name}")
    is_alike = model.tokenizer.fingerprint == run.model.tokenizer.fingerprint
    if not is_alike or data != replace(run.config.data, condition_on=None):
        alike = "of the same corpus, read in the same way (vocabulary, splits and lengths)"
        raise InputError(f"language_model must be {alike}, got {name}")
    return model


@dataclass(frozen=True)
class Examples:
    """Sentences that show what a run can do; a language model has samples only."""

    samples: list[str]
    reconstructions: list[tuple[str, str]]  # held-out, and through the posterior mean, greedily
    interpolation: list[str]  # from the first of these to the last


def examples_of(run: LoadedRun, *, num_samples: int = 5, num_steps: int = 5) -> Examples:
    """Make a run's examples, always the same ones.

    Of the ways between any two of the reconstructed sentences, the one with most to say is taken.
    """
    samples = generation.sample(run.model, num_samples)
    if run.model.latent_dim == 0:
        return Examples(samples, [], [])
    texts, path = lively_path(run.model, readable(run.corpus[run.split]["text"][:]), num_steps)
    back = generation.reconstruct(run.model, texts)
    return Examples(samples, [*zip(texts, back, strict=True)], path)


def lively_path(
    model: SentenceVAE, texts: Sequence[str], num_steps: int = 5
) -> tuple[list[str], list[str]]:
    """Texts, the first and last of which have most between them, and the sentences on that way."""
    pairs = [*combinations(texts, 2)] or [(texts[0], texts[0])]
    codes = torch.cat([generation.path_codes(model, *ends, steps=num_steps) for ends in pairs])
    labels = generation.likeliest_labels(model, [first for first, _ in pairs])
    labels = labels.repeat_interleave(num_steps, 0)
    written = generation.generate_text(model, codes, labels=labels)
    paths = [written[at : at + num_steps] for at in range(0, len(written), num_steps)]
    path = max(paths, key=lambda path: len({*path}))
    first, last = pairs[paths.index(path)]
    rest = (text for text in texts if text not in (first, last))
    return [first, *rest, last][-len(texts) :], path


def readable(texts: Sequence[str]) -> list[str]:
    """The first four texts that fit a line and say something, as far as there are."""
    candidates = list(texts[:200])
    fitting = [text for text in candidates if 25 <= len(text) <= 60 and "<unk>" not in text]
    return (fitting + candidates)[:4]
