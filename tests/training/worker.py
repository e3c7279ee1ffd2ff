"""What each of several processes does for `test_processes.py`: every scenario, one after another.

    python -m tests.training.worker DIRECTORY

where the environment says which process this is, as a launcher sets it. Each run in
DIRECTORY/runs is trained; what a process saw is written to DIRECTORY/RANK.json.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.training.building import Theirs, in_step, trainer_at
from textvae.diagnostics import evaluate
from textvae.runtime import ALONE, ElsewhereError, Processes, join, leave
from textvae.training import SafeInterrupt, TrainingError

TRAIN = 45
"""Sentences to train on: batches do not divide evenly."""


def train(run: Path) -> dict[str, Any]:
    """Fit a run; what its name asks for happens to it."""
    found: dict[str, Any] = {}
    spoiler = Theirs([1.0, math.nan, 1.0]) if "spoiled" in run.name else None
    trainer = trainer_at(run, train=TRAIN, annealer=spoiler)
    if "interrupted" in run.name:
        if trainer.processes.rank == 1:  # in one process only
            in_step(trainer, 4, lambda: signal.raise_signal(signal.SIGTERM))
        try:
            trainer.fit()
        except SafeInterrupt:
            found["stopped"] = trainer.progress.step
        trainer = trainer_at(run, train=TRAIN)
    try:
        found["ended"] = trainer.fit()
    except TrainingError as error:
        found["error"] = str(error)
    found["elbo"] = trainer._last_evaluation and trainer._last_evaluation.elbo
    found["parameters"] = [float(p.detach().double().sum()) for p in trainer.model.parameters()]
    return found


def measure(run: Path, processes: Processes) -> dict[str, Any]:
    """One process' figures and those of all together."""
    trainer = trainer_at(run, train=TRAIN)
    model, valid = trainer.model, trainer.valid
    found: dict[str, Any] = {}
    for name, who in (("alone", ALONE), ("together", processes)):
        evaluation = evaluate(model, valid.epoch(0), valid.num_sentences, processes=who)
        found[name] = evaluation.to_dict()
    return found


def failing(function: Callable[[], Any]) -> str:
    try:
        function()
    except (ValueError, ElsewhereError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def helpers(processes: Processes) -> dict[str, Any]:
    """What the functions of `Processes` give."""
    calls: list[str] = []

    def refuse() -> None:
        raise ValueError(f"no, says {processes.rank}")

    return {
        "gathered": processes.gather(f"from {processes.rank}"),
        "any": [processes.any(processes.rank == 1), processes.any(False)],
        "first": processes.first(lambda: f"made by {processes.rank}"),
        "in_turn": processes.in_turn(lambda: f"made by {processes.rank}"),
        "refused_by_first": failing(lambda: processes.first(refuse)),
        "refused_in_turn": failing(
            lambda: processes.in_turn(lambda: (calls.append("x"), refuse()))
        ),
        "calls": calls,
    }


def main(directory: Path) -> None:
    torch.set_num_threads(1)
    processes = join(cpu=True)
    found = {"helpers": helpers(processes)}
    for run in sorted((directory / "runs").iterdir()):
        found[run.name] = train(run)
    found["measured"] = measure(directory / "runs" / "dropout", processes)
    (directory / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
