"""How fast textvae is beside the usual loop of public sentence-VAE code (`benchmarks/usual.py`).

    python scripts/benchmark.py train --data-dir DIR     # --help lists the others

All are of a model of Penn Treebank's size, untrained; `evaluate` and `decode` take a trained one
too (--run RUN). Both sides of a pair do the same work in one process, in turn (A B A B …), after
their results are compared. Printed are the machine, the settings, and for each pair the median rate
of both, the range over the rounds, the ratio, which is taken round by round, and how much of the
arithmetic's limit textvae reaches (docs/speed.md); --json writes them too.
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import sys
from collections.abc import Callable
from inspect import signature
from typing import get_type_hints

import torch
from benchmarks.bench import Bench
from benchmarks.busy import busy
from benchmarks.data import data, memory
from benchmarks.device import device
from benchmarks.inference import decode, evaluate
from benchmarks.scale import scale
from benchmarks.train import steps, train
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from textvae import cli
from textvae.files import output_file, write_json

BENCHMARKS = (train, steps, evaluate, decode, scale, data, memory, device, busy)
"""A sub-command each: its docstring is the help, its parameters after the first are the options."""

HELP = {
    "data_dir": "Penn Treebank (default: the embedded corpus)",
    "run": "run directory or hub id (default: an untrained model)",
    "batch_size": "sentences per batch",
    "steps": "training steps per measurement",
    "precision": "textvae's; the usual loop's is fp32",
    "num_samples": "importance samples K",
    "num_sentences": "sentences to measure; latent codes to decode, half of them by beam search",
    "num_reference": "of these, how many the usual loop takes",
    "max_length": "most tokens of a sentence (default: 25, or with a run what the package has)",
    "small": "sentences of the smaller corpus",
    "large": "sentences of the larger corpus",
    "work_dir": "for texts and caches; kept",
    "vocab_size": "tokens in the vocabulary",
    "seconds": "training for each measurement",
    "programs": "busy ones beside it",
}


def parser_of(benchmark: Callable[..., None]) -> ArgumentParser:
    """The options of a sub-command and those that all have."""
    parser = ArgumentParser(description=benchmark.__doc__)
    types = get_type_hints(benchmark)
    for name, option in list(signature(benchmark).parameters.items())[1:]:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=types[name], default=option.default, help=HELP[name])
    parser.add_argument("--rounds", type=PositiveInt, default=3, help="measurements of each side")
    parser.add_argument("--threads", type=PositiveInt, default=2, help="torch's")
    parser.add_argument("--json", type=str | None, help="file for the results")
    return parser


def run(benchmark: Callable[..., None], options: Namespace) -> None:
    """Measure, print, write."""
    given = options.as_dict()
    rounds, threads, json = (given.pop(name) for name in ("rounds", "threads", "json"))
    file = None if json is None else output_file(json, ".json")
    torch.set_num_threads(threads)
    bench = Bench(benchmark.__name__, rounds, given)
    benchmark(bench, **given)
    if file is not None:
        write_json(file, bench.content)


def main() -> int:
    """Parse, measure, tell."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    subcommands = parser.add_subcommands(required=True, dest="benchmark")
    benchmarks = {benchmark.__name__: benchmark for benchmark in BENCHMARKS}
    for name, benchmark in benchmarks.items():
        own = parser_of(benchmark)
        subcommands.add_subcommand(name, own, help=own.description)
    options = parser.parse_args()
    chosen = options.benchmark
    return cli.exit_code_of(lambda: run(benchmarks[chosen], options[chosen]))


if __name__ == "__main__":
    sys.exit(main())
