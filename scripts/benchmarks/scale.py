"""Does a step's time grow faster than its arithmetic? And what memory do scores take?

Every size is measured in turn with the first one. Scores are what grows with vocabulary, batch and
length alike: all of them at once would take batch × length × vocabulary × 4 bytes.
"""

import math
from functools import cache, partial
from typing import NamedTuple

import torch
from jsonargparse.typing import PositiveInt

from benchmarks.bench import CPU, Bench, Side, in_fresh_process, peak
from benchmarks.models import PTB_SIZE, flops_per_token, new_model, sizes
from benchmarks.train import our_terms, train_step
from textvae import Batch, SentenceVAE
from textvae.batches import collate
from textvae.runtime import full_speed
from textvae.tokenizer import EOS_ID


class Size(NamedTuple):
    """What a step is of: vocabulary V, tokens a sentence T, sentences B."""

    vocab_size: int
    length: int
    batch_size: int

    def __str__(self) -> str:
        return f"V {self.vocab_size:,}, T {self.length}, B {self.batch_size}"


FIRST = Size(PTB_SIZE["vocab_size"], 20, 32)

SIZES = [
    FIRST,
    *(FIRST._replace(vocab_size=v) for v in (30_000, 100_000)),
    *(FIRST._replace(length=t) for t in (10, 40, 80)),
    *(FIRST._replace(batch_size=b) for b in (16, 64, 128)),
]

LARGE = Size(100_000, 40, 128)  # of which the memory is measured


def scale(bench: Bench, steps: PositiveInt = 3) -> None:
    """Step time beside arithmetic over sizes; memory of scores."""
    bench.reference = str(FIRST)
    bench.describe("fp32", {"model": f"untrained ({sizes(new_model())}), but for the vocabulary"})

    @cache  # each when its turn comes: the largest fills a gigabyte
    def model_and_optimizer(vocab_size: int) -> tuple[SentenceVAE, torch.optim.Adam]:
        model = new_model(vocab_size=vocab_size)
        return model, torch.optim.Adam(model.parameters(), fused=True)

    def flops(size: Size) -> float:
        return flops_per_token(model_and_optimizer(size.vocab_size)[0], backward=True)

    def work(size: Size, steps: int = steps) -> float:
        parts, batch = model_and_optimizer(size.vocab_size), synthetic(size)
        with full_speed(CPU):
            for _ in range(steps):
                train_step(*parts, batch)
        return steps * size.length * size.batch_size

    first = Side(partial(work, FIRST), flops(FIRST))
    for size in SIZES:
        ours = Side(partial(work, size), flops(size))
        more = work(size, 1) * flops(size) / (work(FIRST, 1) * flops(FIRST))
        agreement = f"{more:.3g} times the arithmetic a step"
        bench.compare(str(size), "tokens/s", agreement, ours, first)
    # Fresh, for the most that this process held was held before.
    found = in_fresh_process(peak_growth, LARGE, torch.get_num_threads())
    scores = 4 * math.prod(LARGE) / 2**20
    figures = {"MiB": found, "MiB of all scores": scores, "share": found / scores}
    bench.note(f"memory of a step's loss and gradient at {LARGE}", figures)


def synthetic(size: Size) -> Batch:
    """Random words in sentences of one length, EOS counted."""
    generator = torch.Generator().manual_seed(0)
    shape = (size.batch_size, size.length - 1)
    ids = torch.randint(EOS_ID + 1, size.vocab_size, shape, generator=generator)
    return collate(ids.tolist())


def peak_growth(large: Size, threads: int) -> float:
    """MiB that loss and gradient of a batch add to the peak of those of a single short sentence."""
    torch.set_num_threads(threads)
    model, peaks = new_model(vocab_size=large.vocab_size), []
    for size in (large._replace(length=2, batch_size=1), large):
        sum(our_terms(model, synthetic(size))).backward()
        peaks.append(peak())
    return peaks[1] - peaks[0]
