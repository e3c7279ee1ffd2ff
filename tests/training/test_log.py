"""What a training tells: running means, collapse, and where records go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae.checks import NotInstalledError
from textvae.config import RunConfig
from textvae.run import RunDirectory
from textvae.runtime import Processes
from textvae.training.log import CollapseWatch, RunningMeans, Tracker


def test_running_means_are_weighed_and_begin_anew() -> None:
    means = RunningMeans()
    means.add({"kl": torch.tensor(2.0, requires_grad=True)}, 3)
    means.add({"kl": torch.tensor(6.0), "norm": torch.tensor(5.0)})
    resumed = RunningMeans()
    resumed.load_state_dict(means.state_dict())
    assert means.read() == resumed.read() == {"kl": 3.0, "norm": 5.0}
    assert means.read() == {}
    resumed.add({"kl": torch.tensor(7.0)}, 2)
    assert resumed.read() == {"kl": 7.0}


@pytest.mark.parametrize(
    ("kls", "betas", "since"),
    [
        ([0.5, 0.09, 0.01, 0.05], [1, 1, 1, 1], [None, 2, 2, 2]),
        ([0.01, 0.2, 0.01, 0.01], [1, 1, 1, 1], [1, None, 3, 3]),  # forgotten when KL rises
        ([0.1, 0.1, 0.0999, 0.1], [1, 1, 1, 1], [None, None, 3, None]),
        ([0.01] * 4, [0, 0.25, 0.5, 0.51], [None, None, None, 4]),  # not weighed enough to tell
    ],
)
def test_a_collapse_is_known_since_when(
    kls: list[float], betas: list[float], since: list[int | None]
) -> None:
    watch, seen = CollapseWatch(), []
    for step, (kl, beta) in enumerate(zip(kls, betas, strict=True), 1):
        watch.note(step, kl, beta)
        seen.append(watch.since)
        resumed = CollapseWatch()
        resumed.load_state_dict(watch.state_dict())
        watch = resumed
    assert seen == since


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", RunConfig(data_source="none"))


def test_records_go_to_the_metrics_file_from_the_first_process(run: RunDirectory) -> None:
    record = {"split": "train", "step": 1, "rec": 2.5}
    for rank in (0, 1):
        Tracker(run, processes=Processes(rank, 2)).log(record)
    assert run.metrics() == [record]
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
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(NotInstalledError, match=r"pip install \"textvae\[track\]\""):
        Tracker(run, tensorboard=True)
