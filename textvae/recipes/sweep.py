"""Many configurations over many seeds, trained side by side."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from textvae.checks import InputError, at_least
from textvae.config import RunConfig
from textvae.recipes.measured import finish
from textvae.recipes.runs import open_corpus, phases
from textvae.run import RunDirectory
from textvae.training import TrainingError, safe_interrupts

POLL_SECONDS = 0.5
BAR = "runs {n:.1f}/{total} |{bar}| {elapsed}<{remaining}"


class SweepError(TrainingError):
    """A run of a sweep failed; the message says which, and where it says why."""


class SweptRun(NamedTuple):
    """One run of a sweep: its configuration's name, its seed, its directory."""

    name: str
    seed: int
    run: RunDirectory


def sweep(
    source: str,
    base: Mapping[str, Any],
    configurations: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    directory: str | Path,
    *,
    jobs: int | None = None,
    afterwards: Callable[[Path], object] = finish,
    leaves: str = "results.json",
    done: Callable[[SweptRun], object] = lambda run: None,
) -> list[SweptRun]:
    """Train every configuration with every seed, several runs at a time, one thread each.

    A run's directory is named by the options in which it differs from `base`, so sweeps that
    share a directory share runs, and one that was stopped goes on where it was. Ctrl-C stops all
    runs, each with its state saved, and so does the end of the calling process, whatever the cause.

    `configurations` are, by name, the options that differ from `base`; each is trained with each of
    the `seeds`, `jobs` runs at a time (by default one per core). `afterwards` (picklable) is called
    on each trained run's directory, in the run's own process; it writes the file that it `leaves`
    last, and a run that has that file is done: `done` is called here with each, as soon as it is.

    Raises `SweepError` if a run fails, and `InputError` if one in `directory` has other options.
    """
    at_least(1, jobs=jobs)
    refuse_like_seeds(seeds)
    usual = RunConfig.from_flat(source, dict(base))
    # Loaded here once, so that runs side by side find it cached.
    corpus = open_corpus(source, usual.data)
    runs = []
    for (name, options), seed in product(configurations.items(), seeds):
        config = RunConfig.from_flat(corpus.source, {**base, **options, "seed": seed})
        own = sorted(config.flat().items() - (usual.flat() | {"seed": None}).items())
        path = Path(directory) / ",".join(f"{option}={value}" for option, value in own)
        if RunDirectory.is_taken(path) and RunDirectory.open(path).config != config:
            fault = "was trained on another corpus or with other options than are asked for now"
            raise InputError(f"{path} {fault}: choose another directory")
        runs.append(SweptRun(name, seed, RunDirectory(path, config)))
    # By path: two names may stand for the same options.
    undone = {run.path: run for _, _, run in runs if not (run.path / leaves).exists()}
    for swept in runs:
        if swept.run.path not in undone:
            done(swept)
    for path in _train_all(list(undone.values()), jobs or os.cpu_count() or 1, afterwards):
        for swept in runs:
            if swept.run.path == path:
                done(swept)
    return runs


def refuse_like_seeds(seeds: Sequence[int]) -> None:
    """An `InputError` if there are none, or two alike."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds must be at least one, no two alike, got {list(seeds)}")


def _train_all(
    runs: Sequence[RunDirectory], jobs: int, afterwards: Callable[[Path], object]
) -> Iterator[Path]:
    """Train runs, some at a time; gives the path of each as it is done."""
    waiting, working = list(runs), dict[Path, BaseProcess]()
    try:
        bar = tqdm(total=len(runs), bar_format=BAR, dynamic_ncols=True, disable=not runs or None)
        with safe_interrupts() as check, bar:
            while waiting or working:
                while waiting and len(working) < jobs:
                    run = waiting.pop(0)
                    working[run.path] = _spawn(run, afterwards)
                wait([process.sentinel for process in working.values()], POLL_SECONDS)
                check()
                for path in [path for path, process in working.items() if not process.is_alive()]:
                    if code := working.pop(path).exitcode:
                        ended = f"the run {path} ended with exit code {code}: {path}.log says why"
                        saved = "The other runs' states are saved; the same command goes on"
                        raise SweepError(f"{ended}. {saved}")
                    yield path
                bar.n = len(runs) - len(waiting) - len(working)
                for run in (run for run in runs if run.path in working):
                    bar.n += min(len(run.evaluations()) / run.config.training.max_epochs, 0.99)
                bar.refresh()
    finally:
        for process in working.values():
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        for process in working.values():
            process.join()


def _spawn(run: RunDirectory, afterwards: Callable[[Path], object]) -> BaseProcess:
    given = run.path, run.config, afterwards
    process = multiprocessing.get_context("spawn").Process(target=_train, args=given)
    # Started first, as its start lets interrupts through.
    resource_tracker.ensure_running()
    # The new process inherits this: Ctrl-C during its imports waits until `_train` can take it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _train(path: Path, config: RunConfig, afterwards: Callable[[Path], object]) -> None:
    """A run from wherever it is to its results; what it has to say goes to a file beside it."""
    # Out of the terminal's reach: Ctrl-C comes once, from the process that watches.
    os.setpgrp()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".log").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        # Between phases too, an interrupt waits: half a run directory could not be resumed.
        with safe_interrupts() as check:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            is_begun = RunDirectory.is_taken(path)
            corpus = None if is_begun else open_corpus(config.data_source, config.data)
            for trainer in phases(corpus, config.flat(), path):
                check()
                trainer.fit()
            check()
        afterwards(path)
    except KeyboardInterrupt:
        sys.exit(130)


def _stop_with_parent() -> None:
    """Interrupt this process at the end of the one that watches, however it comes."""
    wait([multiprocessing.parent_process().sentinel])  # type: ignore[union-attr]
    os.kill(os.getpid(), signal.SIGINT)
