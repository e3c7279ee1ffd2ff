"""Importance-weighted NLL against the usual loop, and both precisions against fp64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from benchmarks.arithmetic import flops_per_token
from benchmarks.measuring import Benchmark, Limit, Pair, Plan, at_least, close
from benchmarks.subject import PRECISIONS, Sentences, new_model, sizes, some_sentences
from benchmarks.usual import UsualVAE, importance_nll_of_one
from textvae.batches import BatchLoader, EncodedSplit
from textvae.diagnostics import importance_nll
from textvae.model import SentenceVAE

__all__ = ["EVALUATE", "our_estimate"]

RTOL = {"fp32": 1e-4, "bf16": 1e-2}
"""How far a sentence's NLL may be from the usual loop's fp32."""

BATCH_SIZE = 4
"""64 sentences in batches of 4 are padded by 4%; a whole split, in batches of 64, by 3%."""

Estimate = Callable[[], list[float]]
"""NLL of each sentence, nats."""


def add_evaluate_options(parser: ArgumentParser) -> None:
    """What is measured, with how many samples, of which model."""
    parser.add_argument(
        "--data-dir", type=str | None, help="Penn Treebank (default: the embedded corpus)"
    )
    parser.add_argument("--run", type=str | None, help="run directory or hub id (default: none)")
    parser.add_argument("--num-samples", type=int, default=500, help="importance samples K")
    parser.add_argument("--num-sentences", type=int, default=64, help="of the test split")
    parser.add_argument(
        "--num-reference", type=int, default=16, help="of these, measured by the usual loop"
    )


def plan_evaluate(options: Namespace) -> Plan:
    """Both precisions against the usual loop's fp32; then against fp64."""
    at_least(
        1,
        num_samples=options.num_samples,
        num_sentences=options.num_sentences,
        num_reference=options.num_reference,
    )
    model = (
        new_model() if options.run is None else SentenceVAE.from_pretrained(options.run)
    ).eval()
    usual = UsualVAE.like(model).eval()
    sentences = some_sentences(options.data_dir, "test", options.num_sentences, model.tokenizer)
    num_samples, some = options.num_samples, sentences.ids[: options.num_reference]
    ours = {
        name: our_estimate(model, sentences, num_samples, dtype)
        for name, dtype in PRECISIONS.items()
    }
    exact = cache(lambda: same_noise(usual.double(), sentences.ids, num_samples))
    return Plan(
        [estimating(name, model, usual, sentences, some, num_samples, ours[name]) for name in ours],
        "fp32 and bf16; the usual loop's is fp32",
        {
            "model": f"{options.run or 'random weights'} ({sizes(model)})",
            "data": str(sentences),
            "samples": f"{num_samples} of each sentence",
            "usual loop": f"one sentence at a time, of the first {len(some)}",
            "tokens": "of every sample, EOS counted, padding not",
        },
        also={
            f"{name} beside fp64": partial(differences, estimate, exact)
            for name, estimate in ours.items()
        },
    )


def estimating(
    precision: str,
    model: SentenceVAE,
    usual: UsualVAE,
    sentences: Sentences,
    some: list[list[int]],
    num_samples: int,
    ours: Estimate,
) -> Pair:
    """One precision of ours against the usual loop's fp32."""

    def reference() -> float:
        for ids in some:
            importance_nll_of_one(usual, ids, torch.randn(num_samples, model.latent_dim))
        return num_samples * sum(len(ids) + 1 for ids in some)

    def check() -> str:
        expected = same_noise(usual, some, num_samples)
        return close("NLL at most", ours()[: len(some)], expected, RTOL[precision])

    def measured() -> float:
        ours()
        return num_samples * sentences.num_tokens

    flops = flops_per_token(model, sentences.mean_length, encodings=1 / num_samples)
    return Pair(
        f"IW-NLL, {precision}",
        "tokens/s",
        check,
        measured,
        reference,
        Limit(flops, PRECISIONS[precision]),
        Limit(flops),
    )


def our_estimate(
    model: SentenceVAE, sentences: Sentences, num_samples: int, precision: torch.dtype
) -> Estimate:
    """textvae's, in batches with about as little padding as `textvae diagnose` has."""
    split = EncodedSplit.from_ids(sentences.ids)
    loader = BatchLoader(split, batch_size=BATCH_SIZE, shuffle=False)
    batches = list(loader)

    def estimate() -> list[float]:
        found = importance_nll(model, batches, num_samples=num_samples, precision=precision)
        return found.per_sentence.tolist()

    return estimate


def same_noise(model: UsualVAE, sentences: Sequence[list[int]], num_samples: int) -> list[float]:
    """The usual loop's NLL of each sentence, with the noise that textvae draws for it."""
    return [
        importance_nll_of_one(model, ids, noise_of(i, num_samples, model.latent_dim))
        for i, ids in enumerate(sentences)
    ]


def noise_of(index: int, num_samples: int, latent_dim: int) -> Tensor:
    """What `importance_nll` draws with seed 0 for the sentence at a position."""
    stream = np.random.default_rng([0, 0, index])
    return torch.from_numpy(stream.standard_normal((num_samples, latent_dim)))


def differences(estimate: Estimate, exact: Estimate) -> dict[str, float]:
    """How far NLLs are from the same estimate in fp64, nats a sentence."""
    apart = [abs(a - b) for a, b in zip(estimate(), exact(), strict=True)]
    return {"mean |Δ|, nats": float(np.mean(apart)), "largest |Δ|, nats": max(apart)}


EVALUATE = Benchmark("importance-weighted NLL", add_evaluate_options, plan_evaluate)
