"""How good a saved run's sentences are: `quality_run`, and what it gives, `Quality`.

Real sentences are taken as the model reads them: words out of its vocabulary are `<unk>`, and
sentences are cut or left out where the run's `max_length` says so. Samples are from the model's
own distribution, `<unk>` included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textvae.batches import BatchLoader, EncodedSplit
from textvae.config import RunConfig
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
from textvae.recipes.language_models import (
    LanguageModel,
    given_model,
    planned_model,
    sample_loaders,
    trained,
)
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.loaders import evaluation_loader, training_loaders

__all__ = ["PERPLEXITIES", "Grammaticality", "Perplexities", "Quality", "quality_run"]

PERPLEXITIES = ("no", "forward", "both")

PATH_STEPS = 7
"""Sentences of the interpolation whose factors are read, both ends included."""


@dataclass(frozen=True)
class Perplexities:
    """Samples and real sentences under language models; EOS is counted, BOS is not.

    Attributes:
        language_model: Directory of the language model trained on the training split.
        real: Perplexity of the real sentences, the whole split, under it.
        forward: Perplexity of the samples under it: low where they are likely sentences, however
            much alike.
        reverse: Perplexity of the real sentences under the same kind of model trained on as many
            samples as there are training sentences: high where the samples lack what the real
            ones have. None if it was not asked for.
    """

    language_model: str
    real: float
    forward: float
    reverse: float | None


@dataclass(frozen=True)
class Grammaticality:
    """What the grammar of the embedded corpus says.

    Attributes:
        accepted: Share of the samples that it can say.
        path: Which factors change along an interpolation between two of the real sentences; None
            for a language model.
    """

    accepted: float
    path: tuple[PathStep, ...] | None


@dataclass(frozen=True)
class Quality:
    """How good a run's sentences are.

    Attributes:
        run: The run.
        corpus: Name of its corpus.
        split: Where the real sentences are from.
        seed: Seed of the samples, and of which real sentences are drawn.
        temperature: Of the samples.
        samples: What the samples are like.
        real: What as many real sentences are like, or all of the split if it has fewer.
        reconstruction: What came back of these; None for a language model.
        perplexities: None if they were not asked for.
        grammar: None but for the embedded corpus.
    """

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


class _Job(NamedTuple):
    """What all parts of the work need."""

    run: str | Path
    subject: LoadedRun
    training: EncodedSplit
    seed: int
    temperature: float
    tell: Callable[[str], None]


def quality_run(
    name: str | Path,
    *,
    num_samples: int = 1000,
    split: str = "test",
    data_dir: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    perplexities: str | None = None,
    language_model: str | Path | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Quality:
    """Measure samples of a saved run beside real sentences, and its reconstructions.

    Perplexities need language models. A new one takes about as long to train as the run itself
    did, and is kept in `RUN/quality`: asked again, it is taken from there, and one whose training
    was interrupted is trained on.

    Args:
        name: A run directory or hub id.
        num_samples: How many samples, at least 2. As many real sentences are drawn from the split,
            or all of it taken if it has fewer.
        split: Where the real sentences are from: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.
        seed: Seed of the samples, and of which real sentences are drawn; at least 0.
        temperature: Of the samples; 1 is the model's own distribution.
        perplexities: `"no"`; `"forward"`, under a language model of the training split;
            `"both"`, which trains another one on samples. Default: `"forward"` if `language_model`
            is given, else `"no"`.
        language_model: A run with `latent_dim` 0 on the same corpus, to take in place of a new
            one.
        progress: Told in words what comes next.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, has no training split or no such split, or if the
            split has but one sentence.
        ValueError: If an argument is outside its range, or if the language model is none or of
            another corpus.
        ImportError: If sacrebleu is not installed and there are reconstructions to measure.
        SafeInterrupt: After Ctrl-C while a language model is trained.

    Reference:
        Zhao et al. (2018), Adversarially Regularized Autoencoders, section 6: both perplexities.
    """
    _check_arguments(num_samples, seed, perplexities, language_model)
    if perplexities is None:
        perplexities = "no" if language_model is None else "forward"
    subject = LoadedRun.open(name, split, data_dir=data_dir)
    data, tokenizer = subject.config.data, subject.model.tokenizer
    training = evaluation_loader(subject.corpus, "train", tokenizer, data).split
    job = _Job(name, subject, training, seed, temperature, progress)
    models = None
    if perplexities != "no":
        # Before minutes are spent on what it would stop.
        models = _language_models(job, language_model, is_reverse=perplexities == "both")
    return _measured(job, num_samples, models)


def _measured(job: _Job, num_samples: int, models: _Models | None) -> Quality:
    subject = job.subject
    real = _texts(job, subject.loader.split, _drawn(job, num_samples))
    job.tell(f"{num_samples:,} samples")
    samples = EncodedSplit.from_ids(_sampled(job, num_samples), max_length=_limit(job))
    texts, training = _texts(job, samples), _texts(job, job.training)
    return Quality(
        run=str(job.run),
        corpus=subject.corpus.name,
        split=subject.split,
        seed=job.seed,
        temperature=job.temperature,
        samples=text_figures(texts, training),
        real=text_figures(real, training),
        reconstruction=_reconstruction(job, real),
        grammar=_grammaticality(job, texts, real),
        perplexities=None if models is None else _perplexities(job, models, samples),
    )


def _reconstruction(job: _Job, real: Sequence[str]) -> ReconstructionFigures | None:
    model = job.subject.model
    if model.latent_dim == 0:
        return None
    job.tell(f"{len(real):,} reconstructions")
    return reconstruction_figures(reconstruct(model, real, max_length=_limit(job)), real)


def _grammaticality(job: _Job, texts: Sequence[str], real: Sequence[str]) -> Grammaticality | None:
    if job.subject.corpus.source != "grammar":
        return None
    path, model = None, job.subject.model
    if model.latent_dim > 0:
        path = factor_path(interpolate(model, real[0], real[1], steps=PATH_STEPS))
    return Grammaticality(accepted_share(texts), path)


# Sentences


def _drawn(job: _Job, num_sentences: int) -> list[int]:
    """Positions of real sentences in random order, all of them if there are no more."""
    order = np.random.default_rng(job.seed).permutation(len(job.subject.loader.split))
    if len(order) < 2:
        raise DataError(f"the {job.subject.split} split must have at least 2 sentences, got 1")
    drawn: list[int] = order[:num_sentences].tolist()
    return drawn


def _sampled(job: _Job, num_samples: int) -> list[list[int]]:
    """Ids of samples; those longer than the limit have not ended."""
    model = job.subject.model
    texts = sample(
        model,
        num_samples,
        seed=job.seed,
        temperature=job.temperature,
        # One more, or a sentence that ends right there would look like one that does not.
        max_length=_limit(job) + 1,
        allow_unknown=True,
    )
    return model.tokenizer.encode_batch(texts)


def _limit(job: _Job) -> int:
    """Most tokens of a sample: the run's own limit, or twice the longest it was trained on."""
    max_length = job.subject.config.data.max_length
    return 2 * int(job.training.lengths.max()) if max_length is None else max_length


def _texts(job: _Job, split: EncodedSplit, rows: Sequence[int] | None = None) -> list[str]:
    """Sentences as the model reads them, all of a split if `rows` is None."""
    chosen = range(len(split)) if rows is None else rows
    return job.subject.model.tokenizer.decode_batch(split.sentence(row) for row in chosen)


# Perplexities


class _Models(NamedTuple):
    """Language models of the training split and, if it was asked for, of samples."""

    of_corpus: LanguageModel
    of_samples: LanguageModel | None


def _language_models(job: _Job, name: str | Path | None, *, is_reverse: bool) -> _Models:
    """The one that is named, or one like the run, and another one like it for samples."""
    if name is not None:
        chosen = given_model(name, job.subject)
    else:
        chosen = planned_model(job.run, job.subject.corpus.source, job.subject.config)
    return _Models(chosen, _planned_on_samples(job, chosen.config) if is_reverse else None)


def _planned_on_samples(job: _Job, config: RunConfig) -> LanguageModel:
    weights = (find_pretrained(job.run) / "model.safetensors").read_bytes()
    source = (
        f"{_num_samples(job)} samples of weights {hashlib.sha256(weights).hexdigest()[:12]}, "
        f"seed {job.seed}, temperature {job.temperature}"
    )
    return planned_model(job.run, source, config)


def _num_samples(job: _Job) -> int:
    """As many as there are training sentences, and a twentieth to judge by."""
    return len(job.training) + max(1, len(job.training) // 20)


def _perplexities(job: _Job, models: _Models, samples: EncodedSplit) -> Perplexities:
    tokenizer, corpus = job.subject.model.tokenizer, job.subject.corpus
    chosen = models.of_corpus
    _announce(job, chosen, "the training split")
    model = trained(chosen, tokenizer, lambda: training_loaders(corpus, tokenizer, chosen.config))
    return Perplexities(
        language_model=str(chosen.directory),
        real=_perplexity(model, job.subject.loader),
        forward=_perplexity(model, BatchLoader(samples, batch_size=64, shuffle=False)),
        reverse=None if models.of_samples is None else _reverse(job, models.of_samples),
    )


def _reverse(job: _Job, chosen: LanguageModel) -> float:
    """Perplexity of the real sentences under a language model trained on samples."""
    num_train = len(job.training)
    _announce(job, chosen, f"{num_train:,} samples")

    def loaders() -> tuple[BatchLoader, BatchLoader]:
        ids = _sampled(job, _num_samples(job))
        return sample_loaders(ids, num_train, _limit(job), chosen.config)

    model = trained(chosen, job.subject.model.tokenizer, loaders)
    return _perplexity(model, job.subject.loader)


def _perplexity(model: SentenceVAE, loader: BatchLoader) -> float:
    """Of a language model, whose ELBO is exact."""
    return evaluate(model, loader.epoch(0), loader.num_sentences).elbo_ppl


def _announce(job: _Job, chosen: LanguageModel, what: str) -> None:
    if chosen.has_ended:
        job.tell(f"perplexities under {chosen.directory}")
    else:
        job.tell(
            f"training a language model on {what}, {chosen.config.training.max_epochs} epochs at "
            f"most, kept in {chosen.directory}"
        )


def _check_arguments(
    num_samples: int, seed: int, perplexities: str | None, language_model: str | Path | None
) -> None:
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, got {num_samples}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if perplexities is not None and perplexities not in PERPLEXITIES:
        raise ValueError(
            f"perplexities must be one of {', '.join(PERPLEXITIES)}, got {perplexities!r}"
        )
    if perplexities == "no" and language_model is not None:
        raise ValueError(
            "perplexities must be forward or both where a language_model is given, got 'no'"
        )
