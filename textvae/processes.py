"""Several processes that train or measure one thing together: `Processes`, `join`, `current`.

A launcher (`torchrun`, `accelerate launch`) starts them; `join` brings them together. Code that
takes a `Processes` does the same with `ALONE`, at no cost. Each of a `Processes`' methods but
`share` is to be called by all processes, in the same order: it waits for the others.

Shapes: B rows of all processes together, D columns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "ElsewhereError", "Processes", "current", "is_first", "join", "leave"]

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the first may have a large corpus to prepare. One that
has died is noticed by the launcher, which ends the others."""


class ElsewhereError(RuntimeError):
    """Another process could not do what this one needs; that one raises why."""


class Processes(NamedTuple):
    """Who this process is among those that work together.

    Attributes:
        rank: Its number, from 0.
        world: How many there are, on all machines.
        local_rank: Its number on its machine, from 0.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """Every `world`-th item from number `rank` on: what this process does of them all."""
        return islice(items, self.rank, None, self.world)

    def gather(self, own: T) -> list[T]:
        """What each process has, in the order of their ranks, in every process."""
        if self.world == 1:
            return [own]
        from torch import distributed

        found: list[T | None] = [None] * self.world
        distributed.all_gather_object(found, own)
        return found  # type: ignore[return-value]

    def gather_rows(self, own: Tensor, num_rows: int) -> Tensor:
        """Put together rows that were shared out as `share` does.

        Nothing is read back from an accelerator.

        Args:
            own: Every `world`-th row from number `rank` on, (b, D).
            num_rows: Rows of all processes together, B.

        Returns:
            All rows in their order, (B, D), without gradient.
        """
        if self.world == 1:
            return own.detach()
        import torch

        most = -(-num_rows // self.world)
        padded = own.new_zeros(most, own.shape[1])
        padded[: len(own)] = own.detach()
        found = [torch.empty_like(padded) for _ in range(self.world)]
        torch.distributed.all_gather(found, padded)
        return torch.stack(found, 1).flatten(0, 1)[:num_rows]

    def any(self, own: bool) -> bool:
        """Whether it is true in any process."""
        if self.world == 1:
            return own
        import torch
        from accelerate import PartialState

        flag = torch.tensor(int(own), device=PartialState().device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    def wait(self) -> None:
        """Wait until all have come this far, as where the first writes what others read."""
        self.gather(None)

    def first(self, function: Callable[[], T]) -> T:
        """What a function gives in the first process; it is called in no other.

        Raises:
            ElsewhereError: If it raised in the first process, which raises what it was.
        """
        if self.world == 1:
            return function()
        given, error = _tried(function) if self.is_first else (None, None)
        self._refuse_failure(error)
        from torch import distributed

        box = [given]
        distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def in_turn(self, function: Callable[[], T]) -> T:
        """Call a function in each machine's first process, then, its caches filled, in the others.

        Raises:
            ElsewhereError: If it raised in another process, which raises what it was.
        """
        if self.world == 1:
            return function()
        given: T | None = None
        for is_my_turn in (self.local_rank == 0, self.local_rank != 0):
            error = None
            if is_my_turn:
                given, error = _tried(function)
            self._refuse_failure(error)
        return given  # type: ignore[return-value]

    def _refuse_failure(self, error: Exception | None) -> None:
        failed = [message for message in self.gather(error and str(error)) if message is not None]
        if error is not None:
            raise error
        if failed:
            raise ElsewhereError(f"another process failed: {failed[0]}")


ALONE = Processes()
"""One process that works alone."""


def is_first() -> bool:
    """Whether the launcher, if there was one, made this the process that writes and speaks."""
    return _launched() == 1 or os.environ.get("RANK", "0") == "0"


def join(*, cpu: bool = False) -> Processes:
    """Bring together the processes that a launcher started; the first call does, others only tell.

    Args:
        cpu: Work on CPUs even where there are accelerators.

    Returns:
        Who this process is; `ALONE` where there was no launcher, or but one process.
    """
    if _launched() > 1 and current() == ALONE:
        import torch
        from accelerate import PartialState

        found = torch.accelerator.current_accelerator(check_available=True)
        # Accelerate leaves processes without a common accelerator alone, unless told of CPUs.
        PartialState(cpu=cpu or found is None or found.type == "mps", timeout=PATIENCE)
    return current()


def current() -> Processes:
    """Who this process is among those that were brought together; `ALONE` if none were."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return ALONE
    rank, world = distributed.get_rank(), distributed.get_world_size()
    return Processes(rank, world, int(os.environ.get("LOCAL_RANK", 0)))


def leave() -> None:
    """Part from the others, at the end."""
    if current() != ALONE:
        from accelerate import PartialState

        PartialState().destroy_process_group()


def _launched() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _tried(function: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error
