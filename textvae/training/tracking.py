"""`Tracker`: where logged records go: `metrics.jsonl` always, TensorBoard where asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textvae.run import RunDirectory
from textvae.runtime import ALONE, Processes

__all__ = ["Tracker"]


class Tracker:
    """Writes records to a run's `metrics.jsonl` and, if asked, as TensorBoard scalars.

    Args:
        run: The run.
        tensorboard: Also write events to `tensorboard/` of the run directory.
        processes: Of these the first alone writes.

    Raises:
        ImportError: If TensorBoard is asked for and not installed.
    """

    def __init__(
        self, run: RunDirectory, *, tensorboard: bool = False, processes: Processes = ALONE
    ) -> None:
        self._run = run
        self._is_writing = processes.is_first
        self._writer: Any = _summary_writer(run) if tensorboard and self._is_writing else None

    def log(self, record: dict[str, Any]) -> None:
        """Write one record; its `split` and `step` say where in TensorBoard its numbers go.

        A list becomes a scalar per place: `kl_per_dim/0`, `kl_per_dim/1`, …
        """
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
        raise ImportError(
            'TensorBoard is not installed: pip install "textvae[track]", or leave --tensorboard out'
        ) from None
    return SummaryWriter(str(run.path / "tensorboard"))
