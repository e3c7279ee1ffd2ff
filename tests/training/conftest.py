"""Trainers of a tiny model on sixty sentences, and what they leave behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.training.building import Build, evaluation, left_behind, trainer_at
from textvae.training import Trainer


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`trainer_at` a directory of the test, by name."""

    def make(name: str | Path = "run", **options: Any) -> Trainer:
        return trainer_at(tmp_path / name, **options)

    return make


@pytest.fixture
def script_elbos(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets evaluations find these ELBOs, one after the other."""

    def script(*elbos: float, kl: float = 1.0) -> None:
        found = Mock(side_effect=[evaluation(elbo, kl) for elbo in elbos])
        monkeypatch.setattr("textvae.training.trainer.evaluate", found)

    return script


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a run with some options leaves behind when nothing happens to it; trained once each."""
    known: dict[str, dict[str, Any]] = {}

    def train(**options: Any) -> dict[str, Any]:
        key = repr(sorted(options.items()))
        if key not in known:
            trainer = trainer_at(tmp_path_factory.mktemp("uninterrupted") / "run", **options)
            trainer.fit()
            known[key] = left_behind(trainer)
        return known[key]

    return train
