"""Training steps: the Trainer's own against the usual loop, and what lies between, rung by rung.

A rung has what it is named after and all that the rungs before it have. The first is the usual loop
once more, as a control; the last two take the step that the Trainer takes.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from benchmarks import models, usual
from benchmarks.bench import CPU, Bench, Side, Timed, close, settle
from benchmarks.models import Ids
from textvae import Batch, BatchLoader, RunConfig, SentenceVAE, Trainer
from textvae.annealers import ConstantAnnealer
from textvae.batches import EncodedSplit, collate
from textvae.checks import InputError
from textvae.run import RunDirectory
from textvae.runtime import autocast, full_speed

Batches = Iterator[Batch | usual.PaddedBatch]

WARM_UP = 3  # steps before the clock starts: the optimizer makes its state, the allocator its pools
CLIP_NORM, LEARNING_RATE = 5.0, 1e-3
RTOL = {"fp32": 1e-5, "bf16": 1e-2}  # how far the loss may be from the usual loop's fp32

FORWARD, FULL_SPEED, BF16 = 2, 3, 4

RUNGS = (
    "usual loop",
    "+ batches of like length",
    "+ textvae's forward pass, fused Adam",
    "+ products and memory of full_speed",
    "+ bf16 products",
)


def train(
    bench: Bench,
    data_dir: str | None = None,
    batch_size: PositiveInt = 32,
    steps: PositiveInt = 100,
    precision: Literal["fp32", "bf16", "both"] = "both",
) -> None:
    """Training steps."""
    ids, setting = sample(data_dir, batch_size, steps)
    model, theirs = models.new_model(), models.new_model()  # both learn
    names = list(models.PRECISIONS) if precision == "both" else [precision]
    bench.describe(f"{' and '.join(names)}; the usual loop's is fp32", setting)
    flops = models.flops_per_token(model, backward=True)
    reference = Side(partial(usual_steps, theirs, ids, batch_size), flops)
    for name in names:
        agreement = same_loss(ids[:batch_size], name)
        work = partial(our_steps, model, ids, batch_size, name)
        ours = Side(work, flops, models.PRECISIONS[name])
        bench.compare(f"training, {name}", "tokens/s", agreement, ours, reference)


def steps(
    bench: Bench,
    data_dir: str | None = None,
    batch_size: PositiveInt = 32,
    steps: PositiveInt = 100,
) -> None:
    """What each optimisation of a training step brings."""
    ids, setting = sample(data_dir, batch_size, steps)
    setting["rungs"] = "each has all that the rungs before it have"
    bench.describe("fp32; bf16 on the last rung", setting)
    flops = models.flops_per_token(models.new_model(), backward=True)
    reference = Side(lambda: usual_steps(models.new_model(), ids, batch_size), flops)
    for rung, name in enumerate(RUNGS):
        precision = "bf16" if rung >= BF16 else "fp32"
        is_own = rung >= FORWARD
        agreement = same_loss(ids[:batch_size], precision) if is_own else "the usual loop's own"
        work = partial(rung_steps, ids, batch_size, rung)
        ours = Side(work, flops, models.PRECISIONS[precision])
        bench.compare(name, "tokens/s", agreement, ours, reference)
    ratios = {pair["name"]: pair["ratio"] for pair in bench.pairs}
    gains = {name: ratios[name] / ratios[before] for before, name in pairwise(ratios)}
    bench.note("over the rung before", gains)


def sample(data_dir: str | None, batch_size: int, steps: int) -> tuple[Ids, dict[str, str]]:
    """Sentences for the steps asked for and those before the clock; the setting, in words."""
    ids, data = models.some_sentences(data_dir, "train", (WARM_UP + steps) * batch_size)
    if len(ids) <= WARM_UP * batch_size:
        few = f"the training split must have more than {WARM_UP} batches, got {data}"
        raise InputError(f"{few}: take a smaller batch-size")
    return ids, {
        "model": f"untrained, no dropout ({models.sizes(models.new_model())})",
        "data": f"{data}, in batches of {batch_size}",
        "steps": f"Adam, gradients clipped at {CLIP_NORM:g}; the first {WARM_UP} are unmeasured",
    }


def same_loss(ids: Ids, precision: str) -> str:
    """Compare the loss of a batch with the usual loop's, with the same model and noise."""
    model = models.new_model()
    noise = torch.randn(len(ids), model.latent_dim, generator=torch.Generator().manual_seed(0))
    with full_speed(CPU), autocast(CPU, models.PRECISIONS[precision]):
        found = sum(our_terms(model, collate(ids), noise))
    expected = sum(usual.loss_terms(model, usual.PaddedBatch.of(ids), noise))
    return close("loss", [found.item()], [expected.item()], RTOL[precision])


def our_terms(
    model: SentenceVAE, batch: Batch, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL of a batch, nats per sentence."""
    found = model(batch, noise)
    return found.terms["rec"].mean(), found.posterior.kl().sum(-1).mean()


class Stopwatch(ConstantAnnealer):
    """An annealer that notes when two optimizer steps were done: the warm-up's last, and the last.

    From one to the other there is all that training steps have, and nothing else.
    """

    def __init__(self, num_steps: int, device: torch.device) -> None:
        super().__init__()
        self.noted, self.device, self.times = (WARM_UP, num_steps), device, list[float]()

    def step(self) -> None:
        """Move on by one step, and note the time."""
        super().step()
        if self.current_step in self.noted:
            settle(self.device)
            self.times.append(time.perf_counter())


def our_steps(
    model: SentenceVAE, ids: Ids, batch_size: int, precision: str, device: torch.device = CPU
) -> Timed:
    """An epoch of a Trainer, in a run directory that is not kept, on the CPU or the best device."""
    options = {
        **models.NO_DROPOUT,
        "batch_size": batch_size,
        "optimizer": "adam",
        "lr": LEARNING_RATE,
        "clip_norm": CLIP_NORM,
        "precision": precision,
        "device": "cpu" if device.type == "cpu" else "auto",
        "max_epochs": 1,
        "save_every": 2 * len(ids),  # never within the epoch
    }
    loader = like_length(ids, batch_size)
    stopwatch = Stopwatch(len(loader), device)
    with tempfile.TemporaryDirectory() as directory:
        config = RunConfig.from_flat("benchmark", options)
        run = RunDirectory.create(Path(directory) / "run", config)
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar's
            Trainer(model, loader, like_length(ids[:2]), run, annealer=stopwatch).fit()
    unmeasured = sum(batch.num_tokens for batch in islice(loader.epoch(0), WARM_UP))
    began, ended = stopwatch.times
    return Timed(models.num_tokens(ids) - unmeasured, ended - began)


def like_length(ids: Ids, batch_size: int = 2) -> BatchLoader:
    """Textvae's batches."""
    return BatchLoader(EncodedSplit.from_ids(ids), batch_size=batch_size)


def usual_steps(
    model: SentenceVAE, ids: Ids, batch_size: int, batches: Batches | None = None
) -> Timed:
    """An epoch of the usual loop, on batches of its own if none are given."""
    optimizer = torch.optim.Adam(model.train().parameters(), lr=LEARNING_RATE)
    batches = batches or usual.random_batches(ids, batch_size)
    return timed(lambda batch: usual.train_on(model, optimizer, batch, CLIP_NORM), batches)


def timed(step: Callable[[Any], object], batches: Batches) -> Timed:
    """Take a step on each batch; those after the warm-up are timed."""
    for batch in islice(batches, WARM_UP):
        step(batch)
    total, began = 0, time.perf_counter()
    for batch in batches:
        step(batch)
        total += int(batch.lengths.sum())
    return Timed(total, time.perf_counter() - began)


def rung_steps(ids: Ids, batch_size: int, rung: int) -> Timed:
    """An epoch of a new model on a rung."""
    model, batches = models.new_model().train(), iter(like_length(ids, batch_size))
    if rung < FORWARD:
        return usual_steps(model, ids, batch_size, batches if rung else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    precision = models.PRECISIONS["bf16" if rung >= BF16 else "fp32"]
    with full_speed(CPU) if rung >= FULL_SPEED else contextlib.nullcontext():
        return timed(partial(train_step, model, optimizer, precision=precision), batches)


def train_step(
    model: SentenceVAE,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    precision: torch.dtype = torch.float32,
) -> None:
    """What the Trainer does with a batch, without its schedule and its log."""
    with autocast(CPU, precision):
        rec, kl = our_terms(model, batch)
    optimizer.zero_grad()
    (rec + kl).backward()
    clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
