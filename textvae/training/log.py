"""What a training tells: running means, where records go, and whether the posterior collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textvae.checks import NotInstalledError
from textvae.diagnostics import COLLAPSED_KL
from textvae.run import RunDirectory
from textvae.runtime import ALONE, Processes
from textvae.training.schedule import Counters

COLLAPSED_BETA = 0.5
"""KL weight above which a KL of nothing is a collapse."""


class RunningMeans:
    """Weighted means by name between two log lines, kept on the device and read back only then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], weight: int = 1) -> None:
        """Add scalars, each counted `weight` times."""
        for name, value in values.items():
            previous = self._sums.get(name, torch.zeros_like(value))
            self._sums[name] = previous + value.detach() * weight
            self._weights[name] = self._weights.get(name, 0) + weight

    def read(self) -> dict[str, float]:
        """The means since the last reading; begins anew."""
        means = {name: float(value) / self._weights[name] for name, value in self._sums.items()}
        self._sums, self._weights = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums, so that a resumed run logs the same lines."""
        return {"sums": dict(self._sums), "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved sums."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])


@dataclass
class CollapseWatch(Counters):
    """Whether KL is nothing though its weight is in force, and since which logged step."""

    since: int | None = None

    def note(self, step: int, kl: float, beta: float) -> None:
        """Take in a logged KL, mean over sentences, in nats, and its weight."""
        if not self.is_collapse(kl, beta):
            self.since = None
        elif self.since is None:
            self.since = step

    @staticmethod
    def is_collapse(kl: float, beta: float) -> bool:
        """Whether a KL is one of a collapsed posterior."""
        return kl < COLLAPSED_KL and beta > COLLAPSED_BETA


class Tracker:
    """Writes records to a run's `metrics.jsonl` and, if asked, to `tensorboard/` beside it.

    Of several processes the first alone writes. An ImportError tells of a missing TensorBoard.
    """

    def __init__(
        self, run: RunDirectory, *, tensorboard: bool = False, processes: Processes = ALONE
    ) -> None:
        self._run = run
        self._is_writing = processes.is_first
        self._writer: Any = _summary_writer(run) if tensorboard and self._is_writing else None

    def log(self, record: dict[str, Any]) -> None:
        """Write one record; in TensorBoard a list is a scalar per place, `kl_per_dim/0`."""
        if not self._is_writing:
            return
        self._run.log(record)
        if self._writer is None:
            return
        for name, value in _scalars(record):
            self._writer.add_scalar(f"{record['split']}/{name}", value, record["step"])
        self._writer.flush()


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, list):
            yield from ((f"{name}/{place}", each) for place, each in enumerate(value))
        elif isinstance(value, int | float) and name != "step":
            yield name, value


def _summary_writer(run: RunDirectory) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise NotInstalledError(
            'TensorBoard is not installed: pip install "textvae[track]", or leave --tensorboard out'
        ) from None
    return SummaryWriter(str(run.path / "tensorboard"))
