"""`Tracker`: where logged records go: `metrics.jsonl` always, TensorBoard where asked for."""

from __future__ import annotations

from typing import Any

from textvae.checkpoint import RunDirectory

__all__ = ["Tracker"]


class Tracker:
    """Writes records to a run's `metrics.jsonl` and, if asked, as TensorBoard scalars.

    Args:
        run: The run.
        tensorboard: Also write events to `tensorboard/` of the run directory.

    Raises:
        ImportError: If TensorBoard is asked for and not installed.
    """

    def __init__(self, run: RunDirectory, *, tensorboard: bool = False) -> None:
        self._run = run
        self._writer: Any = _summary_writer(run) if tensorboard else None

    def log(self, record: dict[str, Any]) -> None:
        """Write one record; its `split` and `step` say where in TensorBoard its numbers go."""
        self._run.log(record)
        if self._writer is None:
            return
        for name, value in record.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(f"{record['split']}/{name}", value, record["step"])
        self._writer.flush()


def _summary_writer(run: RunDirectory) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            'TensorBoard is not installed: pip install "textvae[track]", or leave --tensorboard out'
        ) from None
    return SummaryWriter(str(run.path / "tensorboard"))
