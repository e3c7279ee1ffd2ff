"""`Interrupt`: Ctrl-C that waits for a moment at which everything can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from textvae.runtime import ALONE, Processes


class SafeInterrupt(KeyboardInterrupt):
    """Ctrl-C, raised between two steps: nothing is half updated."""


class Interrupt:
    """Context in which the first Ctrl-C is noted, and `check` raises it; a second acts at once.

    Of several processes any one's Ctrl-C stops all at the same check, and so does SIGTERM, which
    a launcher sends to those left when one has ended. None is interrupted before: the launcher
    ends those that take too long.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self._processes, self._noted = processes, False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals, where that is possible: in the main thread."""
        signals = [signal.SIGINT] + [signal.SIGTERM] * (self._processes.world > 1)
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._note) for each in signals}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def check(self) -> None:
        """Raise `SafeInterrupt` if noted in any process; all must check equally often."""
        if self._processes.any(self._noted):
            raise SafeInterrupt

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._noted = True
        if self._processes.world == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
