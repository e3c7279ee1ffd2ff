"""`Interrupt`: Ctrl-C that waits for a moment at which everything can be saved.

Offers the context `Interrupt` and what it raises at such a moment, `SafeInterrupt`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt", "SafeInterrupt"]


class SafeInterrupt(KeyboardInterrupt):
    """Ctrl-C, raised between two steps: nothing is half updated."""


class Interrupt:
    """Context in which the first Ctrl-C is only noted, and `check` raises it.

    Between two checks a training step runs to its end, so that what is saved is never half
    updated. A second Ctrl-C interrupts at once.
    """

    def __init__(self) -> None:
        self._noted = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        """Take over SIGINT, where that is possible: in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        """Raise what was noted.

        Raises:
            SafeInterrupt: If Ctrl-C was pressed since the context began.
        """
        if self._noted:
            raise SafeInterrupt

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
