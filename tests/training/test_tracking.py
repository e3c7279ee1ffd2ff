"""Where records go."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from textvae.config import RunConfig
from textvae.run import RunDirectory
from textvae.training.log import Tracker


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", RunConfig(data_source="none"))


def test_records_go_to_the_metrics_file(run: RunDirectory) -> None:
    Tracker(run).log({"split": "train", "step": 1, "rec": 2.5})
    assert run.metrics() == [{"split": "train", "step": 1, "rec": 2.5}]
    assert not (run.path / "tensorboard").exists()


def test_tensorboard_gets_the_numbers(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[Any, ...]] = []

    class Writer:
        def add_scalar(self, *arguments: Any) -> None:
            written.append(arguments)

        def flush(self) -> None:
            written.append(("flush",))

    monkeypatch.setattr("textvae.training.log._summary_writer", lambda _: Writer())
    record = {"split": "valid", "step": 7, "kl": 1.5, "au": 2, "verdict": "wait"}
    record["kl_per_dim"] = [1, 0.5]
    Tracker(run, tensorboard=True).log(record)
    assert written == [
        ("valid/kl", 1.5, 7),
        ("valid/au", 2, 7),
        ("valid/kl_per_dim/0", 1, 7),
        ("valid/kl_per_dim/1", 0.5, 7),
        ("flush",),
    ]
    assert run.metrics() == [record]


def test_tensorboard_missing_is_said_with_the_way_to_get_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Mapping[str, Any]) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install \"textvae\[track\]\""):
        Tracker(run, tensorboard=True)
