"""How good a saved run's sentences are.

Samples that are measured are from the model's own distribution, `<unk>` included.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textvae import generation, quality
from textvae.batches import BatchLoader, EncodedSplit
from textvae.checks import MANY, InputError, at_least, integer
from textvae.corpus import DataError
from textvae.diagnostics import evaluate
from textvae.files import find_pretrained
from textvae.model import SentenceVAE
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.runs import encoded
from textvae.run import RunDirectory


@dataclass(frozen=True)
class Perplexities:
    """Samples (`forward`) and the whole split (`real`) under a language model; EOS is counted."""

    language_model: str
    real: float
    forward: float


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
    grammatical: float | None  # share of the samples that the grammar can say


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
    reconstruction = perplexities = None
    if model.latent_dim > 0:
        labels = torch.from_numpy(split.labels[rows])
        back = generation.reconstruct(model, real, labels=labels, max_length=limit)
        reconstruction = quality.reconstruction_figures(back, real)
    if judge is not None:
        loaders = run.loader, BatchLoader(samples, batch_size=64, shuffle=False)
        # The ELBO of a language model is exact.
        own = (evaluate(judge, loader.epoch(0), loader.num_sentences) for loader in loaders)
        perplexities = Perplexities(str(language_model), *(found.elbo_ppl for found in own))
    is_embedded = run.corpus.source == "grammar"
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
        grammatical=quality.accepted_share(texts) if is_embedded else None,
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
