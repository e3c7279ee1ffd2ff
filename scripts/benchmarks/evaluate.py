"""Importance-weighted NLL against the usual loop, and both precisions against fp64."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from jsonargparse.typing import PositiveInt

from benchmarks.bench import Bench, Side, close
from benchmarks.models import (
    PRECISIONS,
    Sentences,
    flops_per_token,
    new_model,
    sizes,
    some_sentences,
)
from benchmarks.usual import importance_nll_of_one
from textvae import BatchLoader, SentenceVAE
from textvae.batches import EncodedSplit
from textvae.diagnostics import importance_nll

RTOL = {"fp32": 1e-4, "bf16": 1e-2}
"""How far a sentence's NLL may be from the usual loop's fp32."""

BATCH_SIZE = 4
"""64 sentences in batches of 4 are padded by 4%; a whole split, in batches of 64, by 3%."""


def evaluate(
    bench: Bench,
    data_dir: str | None = None,
    run: str | None = None,
    num_samples: PositiveInt = 500,
    num_sentences: PositiveInt = 64,
    num_reference: PositiveInt = 16,
) -> None:
    """Importance-weighted NLL."""
    model = new_model().eval() if run is None else SentenceVAE.from_pretrained(run)
    tokenizer = None if run is None else model.tokenizer
    sentences = some_sentences(data_dir, "test", num_sentences, tokenizer)
    some = sentences._replace(ids=sentences.ids[:num_reference])
    bench.describe(
        "fp32 and bf16; the usual loop's is fp32",
        {
            "model": f"{run or 'random weights'} ({sizes(model)})",
            "data": str(sentences),
            "samples": f"{num_samples} of each sentence",
            "usual loop": f"one sentence at a time, of the first {len(some.ids)}",
            "tokens": "of every sample, EOS counted, padding not",
        },
    )
    flops = flops_per_token(model, sentences.mean_length, encodings=1 / num_samples)

    def reference() -> float:
        usual_estimate(model, some.ids, num_samples)
        return num_samples * some.num_tokens

    expected = usual_estimate(model, some.ids, num_samples)
    exact = np.array(usual_estimate(deepcopy(model).double(), sentences.ids, num_samples))
    errors = {}
    for name, dtype in PRECISIONS.items():
        found = our_estimate(model, sentences, num_samples, dtype)
        errors[name] = np.abs(np.array(found) - exact)
        agreement = close("NLL at most", found[: len(expected)], expected, RTOL[name])
        ours = Side(partial(our_work, model, sentences, num_samples, dtype), flops, dtype)
        bench.compare(f"IW-NLL, {name}", "tokens/s", agreement, ours, Side(reference, flops))
    for name, error in errors.items():
        figures = {"mean |Δ|, nats": float(error.mean()), "largest |Δ|, nats": float(error.max())}
        bench.note(f"{name} beside fp64", figures)


def our_work(
    model: SentenceVAE, sentences: Sentences, num_samples: int, precision: torch.dtype
) -> float:
    """Textvae's estimate; gives its tokens, every sample's."""
    our_estimate(model, sentences, num_samples, precision)
    return num_samples * sentences.num_tokens


def our_estimate(
    model: SentenceVAE, sentences: Sentences, num_samples: int, precision: torch.dtype
) -> list[float]:
    """Textvae's NLL of each sentence, nats; about as little padding as `textvae diagnose` has."""
    split = EncodedSplit.from_ids(sentences.ids)
    batches = list(BatchLoader(split, batch_size=BATCH_SIZE, shuffle=False))
    found = importance_nll(model, batches, num_samples=num_samples, precision=precision)
    return found.per_sentence.tolist()


def usual_estimate(
    model: SentenceVAE, sentences: Sequence[list[int]], num_samples: int
) -> list[float]:
    """The usual loop's, with the noise that textvae draws for each sentence with seed 0."""
    shape, found = (num_samples, model.latent_dim), []
    for i, ids in enumerate(sentences):
        noise = torch.from_numpy(np.random.default_rng([0, 0, i]).standard_normal(shape))
        found.append(importance_nll_of_one(model, ids, noise))
    return found
