"""Sentences that show what a saved run can do, and how good they are.

Real sentences are taken as the model reads them: words out of its vocabulary are `<unk>`, and
sentences are cut or left out where the run's `max_length` says so. Samples are from the model's
own distribution, `<unk>` included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textvae.batches import BatchLoader, EncodedSplit
from textvae.checks import InputError, at_least
from textvae.corpus import DataError
from textvae.diagnostics import evaluate
from textvae.files import find_pretrained
from textvae.generation import interpolate, reconstruct, sample
from textvae.model import SentenceVAE
from textvae.quality import (
    PathStep,
    ReconstructionFigures,
    TextFigures,
    accepted_share,
    factor_path,
    reconstruction_figures,
    text_figures,
)
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.runs import encoded
from textvae.run import RunDirectory

PATH_STEPS = 7  # sentences of the interpolation whose factors are read, both ends included


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
    path: tuple[PathStep, ...] | None


@dataclass(frozen=True)
class Quality:
    """How good a run's sentences are; None is what was not asked for or does not apply."""

    run: str
    corpus: str
    split: str
    seed: int
    temperature: float
    samples: TextFigures
    real: TextFigures
    reconstruction: ReconstructionFigures | None
    perplexities: Perplexities | None
    grammar: Grammaticality | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def quality_run(
    name: str | Path,
    *,
    num_samples: int = 1000,
    split: str = "test",
    data_dir: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    language_model: str | Path | None = None,
    model: type[SentenceVAE] = SentenceVAE,
    progress: Callable[[str], None] = lambda what: None,
) -> Quality:
    """Measure samples of a saved run beside as many real sentences, and their reconstructions.

    `language_model`, a run with `latent_dim` 0 on the same corpus, is for perplexities (Zhao et al.
    2018, Adversarially Regularized Autoencoders, section 6). `temperature` is that of the samples,
    `seed` also decides which real sentences are drawn; a split that has fewer is taken whole.
    `progress` is told in words what comes next; all else is as for `LoadedRun.open`.
    """
    at_least(2, num_samples=num_samples)
    at_least(0, seed=seed)
    run = LoadedRun.open(name, split, data_dir=data_dir, model=model)
    judge = None if language_model is None else _language_model(language_model, run)
    training = encoded(run.corpus, "train", run.tokenizer, run.config.data)
    # The run's own limit, or twice the longest that it was trained on.
    limit = run.config.data.max_length or 2 * int(training.lengths.max())
    rows = np.random.default_rng(seed).permutation(len(run.loader.split))
    if len(rows) < 2:
        raise DataError(f"the {split} split must have at least 2 sentences, got 1")
    real = _texts(run, run.loader.split, rows[:num_samples].tolist())
    known = _texts(run, training, range(len(training)))
    progress(f"{num_samples:,} samples")
    samples = _samples(run, num_samples, limit, seed=seed, temperature=temperature)
    texts = _texts(run, samples, range(len(samples)))
    reconstruction = path = perplexities = None
    is_embedded = run.corpus.source == "grammar"
    if run.model.latent_dim > 0:
        progress(f"{len(real):,} reconstructions")
        reconstructed = reconstruct(run.model, real, max_length=limit)
        reconstruction = reconstruction_figures(reconstructed, real)
        if is_embedded:
            path = factor_path(interpolate(run.model, real[0], real[1], steps=PATH_STEPS))
    if judge is not None:
        progress(f"perplexities under {language_model}")
        loaders = run.loader, BatchLoader(samples, batch_size=64, shuffle=False)
        # The ELBO of a language model is exact.
        own = (evaluate(judge, loader.epoch(0), loader.num_sentences) for loader in loaders)
        perplexities = Perplexities(str(language_model), *(found.elbo_ppl for found in own))
    return Quality(
        run=str(name),
        corpus=run.corpus.name,
        split=split,
        seed=seed,
        temperature=temperature,
        samples=text_figures(texts, known),
        real=text_figures(real, known),
        reconstruction=reconstruction,
        perplexities=perplexities,
        grammar=Grammaticality(accepted_share(texts), path) if is_embedded else None,
    )


def _samples(run: LoadedRun, number: int, limit: int, **options: Any) -> EncodedSplit:
    """Samples, cut where real sentences would be."""
    # One more, or a sentence that ends right there would look like one that does not.
    options |= {"max_length": limit + 1, "allow_unknown": True}
    ids = run.tokenizer.encode_batch(sample(run.model, number, **options))
    return EncodedSplit.from_ids(ids, max_length=limit)


def _texts(run: LoadedRun, split: EncodedSplit, rows: Sequence[int]) -> list[str]:
    """Sentences as the model reads them."""
    return run.tokenizer.decode_batch(split.sentence(row) for row in rows)


def _language_model(name: str | Path, run: LoadedRun) -> SentenceVAE:
    directory = find_pretrained(name)
    data, model = RunDirectory.open(directory).config.data, SentenceVAE.from_pretrained(directory)
    if model.latent_dim != 0:
        got = f"got {model.latent_dim} in {name}"
        raise InputError(f"language_model must be a run with latent_dim 0, {got}")
    own, other = run.tokenizer, model.tokenizer
    if other.fingerprint != own.fingerprint or data != run.config.data:
        raise InputError(
            "language_model must be of the same corpus, read in the same way (vocabulary, splits "
            f"and lengths): {name} has a vocabulary of {len(other):,}, the run one of {len(own):,}"
        )
    return model


@dataclass(frozen=True)
class Examples:
    """Sentences that show what a run can do; a language model has samples only."""

    samples: list[str]
    reconstructions: list[tuple[str, str]]  # held-out, and through the posterior mean, greedily
    interpolation: list[str]  # from the first of these to the last


def examples_of(
    run: LoadedRun, *, num_samples: int = 5, num_steps: int = 5, seed: int = 0
) -> Examples:
    """Make a run's examples; the same seed gives the same ones."""
    samples = sample(run.model, num_samples, seed=seed)
    if run.model.latent_dim == 0:
        return Examples(samples, [], [])
    texts = readable(run.corpus[run.split]["text"][:])
    pairs = list(zip(texts, reconstruct(run.model, texts), strict=True))
    return Examples(samples, pairs, interpolate(run.model, texts[0], texts[-1], steps=num_steps))


def readable(texts: Sequence[str]) -> list[str]:
    """The first four texts that fit a line and say something, as far as there are."""
    candidates = list(texts[:200])
    fitting = [text for text in candidates if 25 <= len(text) <= 60 and "<unk>" not in text]
    return (fitting + candidates)[:4]
