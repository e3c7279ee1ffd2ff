"""What the tests of recipes share: options, runs, and what a run leaves behind."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from tests.sizes import SMALL
from tests.training.building import in_step, press_ctrl_c
from textvae.model import SentenceVAE
from textvae.training import Trainer

FRACTIONS = {"valid_fraction": 0.1, "test_fraction": 0.2}
OPTIONS: dict[str, Any] = {**SMALL, **FRACTIONS}
TIMING = ("seconds", "tokens_per_second", "minutes")


def fit_all(phases: Iterable[Trainer]) -> list[Trainer]:
    trainers = []
    for trainer in phases:
        trainer.fit()
        trainers.append(trainer)
    return trainers


def press_in(trainer: Trainer, step: int) -> None:
    """Press Ctrl-C in a trainer's step number `step`."""
    in_step(trainer, step, press_ctrl_c)


def weights_of(path: Path) -> dict[str, Tensor]:
    return SentenceVAE.from_pretrained(path).state_dict()


def left_behind(run: Path) -> dict[str, Any]:
    """Every file of a run but its training state, without timing."""
    content: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            content[name] = [{k: v for k, v in d.items() if k not in TIMING} for d in lines]
        elif path.name == "results.json":
            content[name] = json.loads(path.read_text()) | {"minutes": 0}
        elif path.is_file() and not path.name.startswith("training_state"):
            content[name] = path.read_bytes()
    return content
