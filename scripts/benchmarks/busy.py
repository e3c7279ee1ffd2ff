"""What other programs cost a training step, by how its threads wait for each other."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from itertools import cycle
from unittest import mock

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt

from benchmarks.bench import CPU, Bench, Side, Timed, in_fresh_process
from benchmarks.models import new_model, sizes
from benchmarks.scale import Size, synthetic
from benchmarks.train import train_step
from textvae.runtime import SHORT_SPIN, full_speed

OURS = {"GOMP_SPINCOUNT": SHORT_SPIN}
OTHERS = {
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "no spin": {"GOMP_SPINCOUNT": "0"},
}
LENGTHS, BATCH_SIZE, WARM_UP = (8, 33, 13, 28, 18, 23), 32, 2


def busy(
    bench: Bench,
    vocab_size: PositiveInt = 20_548,
    seconds: PositiveInt = 5,
    programs: NonNegativeInt = 1,
) -> None:
    """Training steps on an idle machine and beside busy programs."""
    bench.reference = "otherwise"
    setting = {
        "model": f"untrained ({sizes(new_model())}), but for the vocabulary of {vocab_size:,}",
        "data": f"random ids, batches of {BATCH_SIZE} sentences of {LENGTHS} tokens in turn",
        "step": "loss, gradient, clipping and fused Adam, in a fresh process each time",
        "textvae": f"GOMP_SPINCOUNT={SHORT_SPIN}, which the command line sets",
        "beside": f"{programs} that count, in a session of their own",
    }
    bench.describe("fp32", setting)
    for number in dict.fromkeys((0, programs)):
        work = partial(steps_beside, number, vocab_size, seconds)
        for name, environment in OTHERS.items():
            where = f"beside {number}" if number else "alone"
            ours, other = Side(partial(work, OURS)), Side(partial(work, environment))
            bench.compare(f"{where}, {name}", "steps/s", "the same steps", ours, other)


def steps_beside(
    programs: int, vocab_size: int, seconds: float, environment: Mapping[str, str]
) -> Timed:
    """Training steps in a process of that environment, beside so many busy programs."""
    # It ends when this process does, however that comes.
    count = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    command = [sys.executable, "-c", count]
    started = [subprocess.Popen(command, start_new_session=True) for _ in range(programs)]
    others = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    try:
        with mock.patch.dict(os.environ, {**others, **environment}, clear=True):
            threads = int(environment.get("OMP_NUM_THREADS", torch.get_num_threads()))
            return in_fresh_process(train_for, vocab_size, seconds, threads)
    finally:
        for program in started:
            program.kill()
            program.wait()


def train_for(vocab_size: int, seconds: float, threads: int) -> Timed:
    """As many training steps as can be done in that time."""
    torch.set_num_threads(threads)
    model = new_model(vocab_size=vocab_size)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batches = cycle([synthetic(Size(vocab_size, length, BATCH_SIZE)) for length in LENGTHS])
    with full_speed(CPU):
        for _ in range(WARM_UP):
            train_step(model, optimizer, next(batches))
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            train_step(model, optimizer, next(batches))
            done += 1
        return Timed(done, time.perf_counter() - began)
