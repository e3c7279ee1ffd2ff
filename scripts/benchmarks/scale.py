"""Does a step's time grow faster than its arithmetic? And what memory do scores take?

Synthetic sentences, all of one length. Every size is measured in turn with the first one. Scores
are what grows with vocabulary, batch and length alike: all of them at once would take batch ×
length × vocabulary × 4 bytes.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser, Namespace
from torch.nn.utils import clip_grad_norm_

from benchmarks.arithmetic import flops_per_token
from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import Benchmark, Limit, Pair, Plan, at_least
from benchmarks.subject import PRECISIONS, PTB_SIZE, new_model, sizes
from textvae.batches import Batch, collate
from textvae.losses import elbo_terms
from textvae.model import SentenceVAE
from textvae.runtime import autocast, full_speed
from textvae.tokenizer import EOS_ID

__all__ = ["SCALE"]


class Size(NamedTuple):
    """What a step is of: vocabulary V, tokens a sentence T, sentences B."""

    vocab_size: int
    length: int
    batch_size: int

    def __str__(self) -> str:
        return f"V {self.vocab_size:,}, T {self.length}, B {self.batch_size}"

    @property
    def num_tokens(self) -> int:
        """Of a batch."""
        return self.length * self.batch_size

    @property
    def scores_mib(self) -> float:
        """Memory of all scores in fp32."""
        return self.num_tokens * self.vocab_size * 4 / 2**20


FIRST = Size(PTB_SIZE["vocab_size"], 20, 32)

SIZES = [
    FIRST,
    *(FIRST._replace(vocab_size=v) for v in (30_000, 100_000)),
    *(FIRST._replace(length=t) for t in (10, 40, 80)),
    *(FIRST._replace(batch_size=b) for b in (16, 64, 128)),
]

LARGE = Size(100_000, 40, 128)
"""Of which the memory is measured."""

Step = Callable[[Batch], float]


def add_scale_options(parser: ArgumentParser) -> None:
    """How it is computed and how often."""
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32", help="of a step")
    parser.add_argument("--steps", type=int, default=3, help="per measurement")


def plan_scale(options: Namespace) -> Plan:
    """Each size against the first."""
    at_least(1, steps=options.steps)
    precision = PRECISIONS[options.precision]
    # A model for each vocabulary, when its turn comes: the largest fills a gigabyte.
    stepper = cache(lambda vocab_size: training_step(vocab_size, precision))
    return Plan(
        [growth(size, options.steps, precision, stepper) for size in SIZES],
        options.precision,
        {
            "model": f"untrained ({sizes(new_model())}), but for the vocabulary V",
            "data": "random ids, sentences of T tokens in batches of B",
            "step": f"loss, gradient, clipping and fused Adam, {options.steps} times",
            "time / arithmetic": "how many times longer a step takes than the first size's, over "
            "how many times more it must compute",
        },
        reference=str(FIRST),
        also={
            f"memory of a step's loss and gradient at {LARGE}": partial(
                memory, LARGE, options.precision
            )
        },
    )


def growth(size: Size, steps: int, precision: torch.dtype, stepper: Callable[[int], Step]) -> Pair:
    """A size against the first one."""

    def work(of: Size) -> float:
        step, batch = stepper(of.vocab_size), synthetic(of)
        with full_speed(torch.device("cpu")):
            for _ in range(steps):
                step(batch)
        return steps * of.num_tokens

    own, first = limit(size, precision), limit(FIRST, precision)
    more = size.num_tokens * own.flops / (FIRST.num_tokens * first.flops)

    def check() -> str:
        losses = [stepper(of.vocab_size)(synthetic(of)) for of in (size, FIRST)]
        if not all(map(math.isfinite, losses)):
            raise RuntimeError(f"a loss is not finite: {losses}")
        return f"{more:.3g} times the arithmetic a step"

    return Pair(
        str(size),
        "tokens/s",
        check,
        lambda: work(size),
        lambda: work(FIRST),
        own,
        first,
        is_growth=True,
    )


def limit(size: Size, precision: torch.dtype) -> Limit:
    """Of a training step, per token."""
    with torch.device("meta"):
        model = SentenceVAE(**{**PTB_SIZE, "vocab_size": size.vocab_size})
    return Limit(flops_per_token(model, size.length, backward=True), precision)


def synthetic(size: Size) -> Batch:
    """Random words in sentences of one length, EOS counted."""
    generator = torch.Generator().manual_seed(0)
    shape = (size.batch_size, size.length - 1)
    ids = torch.randint(EOS_ID + 1, size.vocab_size, shape, generator=generator)
    return collate(ids.tolist())


def training_step(vocab_size: int, precision: torch.dtype) -> Step:
    """What the Trainer does with a batch, without its schedule and its log; gives the loss."""
    model = new_model(vocab_size=vocab_size)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step(batch: Batch) -> float:
        loss = gradient(model, batch, precision)
        clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def gradient(model: SentenceVAE, batch: Batch, precision: torch.dtype) -> float:
    """Loss of a batch, nats per sentence, and its gradient, which is left in the parameters."""
    with autocast(model.device, precision):
        out = model(batch)
    terms = elbo_terms(out.terms["rec"], *out.posterior)
    loss = terms.rec + terms.kl
    loss.backward()
    return loss.item()


def memory(size: Size, precision: str) -> dict[str, Any]:
    """What a batch adds to the most memory that a process held, beside all of its scores."""
    # Fresh, for the most that this process held was held before.
    arguments = (list(size), precision, torch.get_num_threads())
    found = in_fresh_process("benchmarks.scale", "peak_growth", *arguments, environment={})
    return {"MiB": found, "MiB of all scores": size.scores_mib, "share": found / size.scores_mib}


def peak_growth(size: list[int], precision: str, threads: int) -> float:
    """MiB that a batch of this size adds to the peak of one of a single short sentence.

    For a process of its own.
    """
    torch.set_num_threads(threads)
    large = Size(*size)
    model = new_model(vocab_size=large.vocab_size)
    small = large._replace(length=2, batch_size=1)
    gradient(model, synthetic(small), PRECISIONS[precision])
    before = peak()
    gradient(model, synthetic(large), PRECISIONS[precision])
    return peak() - before


def peak() -> float:
    """Most memory that this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # the other way counts what the parent held when it forked
        lines = status.read_text(encoding="utf-8").splitlines()
        return float(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


SCALE = Benchmark(
    "step time beside arithmetic over sizes; memory of scores", add_scale_options, plan_scale
)
