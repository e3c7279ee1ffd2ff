"""How fast textvae is beside the usual loop of public sentence-VAE code (`benchmarks/usual.py`).

    python scripts/benchmark.py decode               # a model of Penn Treebank's size, untrained
    python scripts/benchmark.py decode --run RUN     # a trained one, with sentences that end

Both sides of a pair do the same work in one process, in turn (A B A B …), after one whole
unmeasured pass of each in which their results are compared. Printed are the machine, the settings,
and for each pair the median rate of both, the range over the rounds, and the ratio, which is taken
round by round; --json writes them too. The clock is the wall's: what else runs shows in the range.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from benchmarks.decode import DECODE
from benchmarks.measuring import Benchmark, at_least, line, measure, surroundings
from jsonargparse import ArgumentParser, Namespace

from textvae import cli
from textvae.files import write_json
from textvae.report import studies

BENCHMARKS: Mapping[str, Benchmark] = {"decode": DECODE}


def run(options: Namespace) -> None:
    """Measure one sub-command's pairs, print the table and write it."""
    at_least(1, rounds=options.rounds, threads=options.threads)
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise FileNotFoundError(f"no directory for --json {options.json}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    plan = BENCHMARKS[options.benchmark].plan(options)
    header = surroundings(plan, options.rounds)
    print("\n".join(f"{name}: {value}" for name, value in header.items()), flush=True)
    print("\nmedian (least–most):\n")
    found = list[dict[str, Any]]()
    for pair in plan.pairs:
        found.append(measure(pair, options.rounds))
        lines = studies.markdown([line(found[-1])]).splitlines()
        print("\n".join(lines if len(found) == 1 else lines[-1:]), flush=True)
    if options.json is not None:
        content = {"benchmark": options.benchmark, **header, "pairs": found}
        write_json(Path(options.json), content)


def main() -> int:
    """Parse, measure, tell."""
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    subcommands = parser.add_subcommands(required=True, dest="benchmark")
    for name, benchmark in BENCHMARKS.items():
        own = ArgumentParser(description=benchmark.help)
        benchmark.add_options(own)
        own.add_argument("--rounds", type=int, default=3, help="measurements of each side")
        own.add_argument("--threads", type=int | None, help="torch's (default: as it chooses)")
        own.add_argument("--json", type=str | None, help="file for the results")
        subcommands.add_subcommand(name, own, help=benchmark.help)
    options = parser.parse_args()
    chosen = options[options.benchmark]
    chosen.benchmark = options.benchmark
    return cli.exit_code_of(lambda: run(chosen))


if __name__ == "__main__":
    sys.exit(main())
