"""How fast textvae is beside the usual loop of public sentence-VAE code (`benchmarks/usual/`).

    python scripts/benchmark.py train --data-dir DIR     # the Trainer's steps
    python scripts/benchmark.py steps --data-dir DIR     # what each optimisation of a step brings
    python scripts/benchmark.py evaluate --data-dir DIR  # importance-weighted NLL
    python scripts/benchmark.py decode                   # sampling, greedy, beam search
    python scripts/benchmark.py scale                    # time beside arithmetic, as sizes grow
    python scripts/benchmark.py data --data-dir DIR      # from text to batches
    python scripts/benchmark.py memory                   # memory as a corpus grows
    python scripts/benchmark.py device --data-dir DIR    # textvae alone, on a GPU if there is one

All are of a model of Penn Treebank's size, untrained; `evaluate` and `decode` take a trained one
too (--run RUN). Both sides of a pair do the same work in one process, in turn (A B A B …), after
an unmeasured pass of each in which their results are compared. Printed are the machine, the
settings, and for each pair the median rate of both, the range over the rounds, the ratio, which is
taken round by round, and how much of the arithmetic's limit (`benchmarks/arithmetic.py`) textvae
reaches; --json writes them too. The clock is the wall's: what else runs shows in the range.
"""

from __future__ import annotations

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.data import DATA
from benchmarks.decode import DECODE
from benchmarks.device import DEVICE
from benchmarks.evaluate import EVALUATE
from benchmarks.measuring import Benchmark, at_least, line, measure, surroundings, told
from benchmarks.memory import MEMORY
from benchmarks.scale import SCALE
from benchmarks.steps import STEPS
from benchmarks.train import TRAIN
from jsonargparse import ArgumentParser, Namespace

from textvae import cli
from textvae.files import write_json
from textvae.report import studies

BENCHMARKS: Mapping[str, Benchmark] = {
    "train": TRAIN,
    "steps": STEPS,
    "evaluate": EVALUATE,
    "decode": DECODE,
    "scale": SCALE,
    "data": DATA,
    "memory": MEMORY,
    "device": DEVICE,
}


def run(options: Namespace) -> None:
    """Measure one sub-command's pairs, print the table and write it."""
    at_least(1, rounds=options.rounds, threads=options.threads)
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise FileNotFoundError(f"no directory for --json {options.json}")
    torch.set_num_threads(options.threads)
    plan = BENCHMARKS[options.benchmark].plan(options)
    header = surroundings(plan, options.rounds)
    print("\n".join(f"{name}: {value}" for name, value in header.items()), flush=True)
    if plan.pairs:
        print("\nmedian (least–most):\n")
    found = list[dict[str, Any]]()
    for pair in plan.pairs:
        found.append(measure(pair, options.rounds))
        lines = studies.markdown([line(found[-1], plan.reference)]).splitlines()
        print("\n".join(lines if len(found) == 1 else lines[-1:]), flush=True)
    also = dict[str, Any]()
    conclusions = {name: partial(work, found) for name, work in plan.conclusions.items()}
    for name, work in {**plan.also, **conclusions}.items():
        also[name] = work()
        print(f"\n{name}: {told(also[name])}", flush=True)
    if options.json is not None:
        content = {"benchmark": options.benchmark, **header, "pairs": found, "also": also}
        write_json(Path(options.json), content)


def main() -> int:
    """Parse, measure, tell."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    subcommands = parser.add_subcommands(required=True, dest="benchmark")
    for name, benchmark in BENCHMARKS.items():
        own = ArgumentParser(description=benchmark.help)
        benchmark.add_options(own)
        own.add_argument("--rounds", type=int, default=3, help="measurements of each side")
        own.add_argument("--threads", type=int, default=2, help="torch's")
        own.add_argument("--json", type=str | None, help="file for the results")
        subcommands.add_subcommand(name, own, help=benchmark.help)
    options = parser.parse_args()
    chosen = options[options.benchmark]
    chosen.benchmark = options.benchmark
    return cli.exit_code_of(lambda: run(chosen))


if __name__ == "__main__":
    sys.exit(main())
