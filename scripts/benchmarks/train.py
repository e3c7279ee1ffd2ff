"""Training steps, the Trainer's own, against the usual loop."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from jsonargparse import ArgumentParser, Namespace

from benchmarks.arithmetic import CPU, flops_per_token, settle
from benchmarks.measuring import Benchmark, Limit, Pair, Plan, Timed, at_least, close
from benchmarks.subject import PRECISIONS, Sentences, new_model, sizes, some_sentences
from benchmarks.usual import PaddedBatch, UsualVAE, loss_terms, random_batches, train_on
from textvae.annealers import ConstantAnnealer
from textvae.batches import Batch, BatchLoader, EncodedSplit, collate
from textvae.config import RunConfig
from textvae.losses import elbo_terms
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.runtime import autocast
from textvae.training import Trainer

__all__ = ["TRAIN", "add_sample_options", "our_steps", "sample"]

WARM_UP = 3
"""Steps before the clock starts: the optimizer makes its state, the allocator its pools."""

CLIP_NORM, LEARNING_RATE = 5.0, 1e-3

NO_DROPOUT = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}

RTOL = {"fp32": 1e-5, "bf16": 1e-2}
"""How far the loss may be from the usual loop's fp32."""

B = TypeVar("B", Batch, PaddedBatch)


def add_train_options(parser: ArgumentParser) -> None:
    """What is trained on, and how."""
    add_sample_options(parser)
    parser.add_argument("--precision", choices=[*PRECISIONS, "both"], default="both", help="ours")


def add_sample_options(parser: ArgumentParser) -> None:
    """What is trained on."""
    parser.add_argument(
        "--data-dir", type=str | None, help="Penn Treebank (default: the embedded corpus)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="sentences per batch")
    parser.add_argument("--steps", type=int, default=100, help="per measurement")


def plan_train(options: Namespace) -> Plan:
    """The same sentences on both sides, each side with batches of its own kind."""
    sentences = sample(options)
    chosen = list(PRECISIONS) if options.precision == "both" else [options.precision]
    return Plan(
        [training(name, sentences, options.batch_size) for name in chosen],
        f"{' and '.join(chosen)}; the usual loop's is fp32",
        {
            **setting(sentences, options.batch_size),
            "steps": f"an epoch, of which the first {WARM_UP} steps are unmeasured; textvae's are "
            "the Trainer's, without its evaluation and saving",
        },
    )


def sample(options: Namespace) -> Sentences:
    """Sentences for an epoch of as many steps as are asked for, and those before the clock."""
    at_least(1, steps=options.steps, batch_size=options.batch_size)
    number = (WARM_UP + options.steps) * options.batch_size
    sentences = some_sentences(options.data_dir, "train", number)
    if len(sentences.ids) <= WARM_UP * options.batch_size:
        raise ValueError(
            f"the training split must have more than {WARM_UP} batches, got {sentences}: take a "
            "smaller batch-size"
        )
    return sentences


def setting(sentences: Sentences, batch_size: int) -> dict[str, str]:
    """What all ways of training have in common."""
    return {
        "model": f"untrained, no dropout ({sizes(new_model())})",
        "data": f"{sentences}, in batches of {batch_size}",
        "optimizer": f"Adam, gradients clipped at {CLIP_NORM:g}",
        "tokens": "real ones, EOS counted, padding not",
    }


def training(precision: str, sentences: Sentences, batch_size: int) -> Pair:
    """One precision of ours against the usual loop's fp32."""
    model = new_model()
    usual = UsualVAE.like(model)
    flops = flops_per_token(model, sentences.mean_length, backward=True)
    return Pair(
        f"training, {precision}",
        "tokens/s",
        lambda: same_loss(model, usual, sentences.ids[:batch_size], precision),
        lambda: our_steps(model, sentences, batch_size, precision),
        lambda: usual_steps(usual, sentences, batch_size),
        Limit(flops, PRECISIONS[precision]),
        Limit(flops),
    )


@torch.no_grad()
def same_loss(model: SentenceVAE, usual: UsualVAE, ids: list[list[int]], precision: str) -> str:
    """Compare the losses of a batch, with the same noise."""
    noise = torch.randn(len(ids), model.latent_dim, generator=torch.Generator().manual_seed(0))
    batch = collate(ids)
    with autocast(model.device, PRECISIONS[precision]):
        terms = elbo_terms(*model(batch, noise))
    rec, kl = loss_terms(usual, PaddedBatch.of(ids), noise)
    return close("loss", [float(terms.rec + terms.kl)], [float(rec + kl)], RTOL[precision])


class Stopwatch(ConstantAnnealer):
    """An annealer that notes when optimizer steps were done: the last of the warm-up, and the last.

    From one to the next there is all that a training step has, and nothing of what comes before
    the first or after the last.
    """

    def __init__(self, num_steps: int, device: torch.device) -> None:
        super().__init__()
        self.noted = (WARM_UP, num_steps)
        self.device = device
        self.times: list[float] = []

    def step(self) -> None:
        """Move on by one step, and note the time."""
        super().step()
        if self.current_step in self.noted:
            settle(self.device)
            self.times.append(time.perf_counter())


def our_steps(
    model: SentenceVAE,
    sentences: Sentences,
    batch_size: int,
    precision: str,
    device: torch.device = CPU,
) -> Timed:
    """An epoch of a Trainer, in a run directory that is not kept, on the CPU or the best device."""
    options = {
        **NO_DROPOUT,
        "batch_size": batch_size,
        "optimizer": "adam",
        "lr": LEARNING_RATE,
        "clip_norm": CLIP_NORM,
        "precision": precision,
        "device": "cpu" if device.type == "cpu" else "auto",
        "max_epochs": 1,
        "save_every": 2 * len(sentences.ids),  # never within the epoch
    }
    train = BatchLoader(EncodedSplit.from_ids(sentences.ids), batch_size=batch_size)
    valid = BatchLoader(EncodedSplit.from_ids(sentences.ids[:2]))
    stopwatch = Stopwatch(len(train), device)
    with tempfile.TemporaryDirectory() as directory:
        config = RunConfig.from_flat("benchmark", options)
        run = RunDirectory.create(Path(directory) / "run", config)
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar's
            Trainer(model, train, valid, run, annealer=stopwatch).fit()
    unmeasured = sum(batch.num_tokens for batch in islice(train.epoch(0), WARM_UP))
    began, ended = stopwatch.times
    return Timed(sentences.num_tokens - unmeasured, ended - began)


def usual_steps(model: UsualVAE, sentences: Sentences, batch_size: int) -> Timed:
    """An epoch of the usual loop."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    model.train()
    batches = random_batches(sentences.ids, batch_size)
    return timed(lambda batch: train_on(model, optimizer, batch, CLIP_NORM), batches)


def timed(step: Callable[[B], object], batches: Iterator[B]) -> Timed:
    """Take a step on each batch; those after the warm-up are timed."""
    for batch in islice(batches, WARM_UP):
        step(batch)
    num_tokens, began = 0, time.perf_counter()
    for batch in batches:
        step(batch)
        num_tokens += int(batch.lengths.sum())
    return Timed(num_tokens, time.perf_counter() - began)


TRAIN = Benchmark("training steps", add_train_options, plan_train)
