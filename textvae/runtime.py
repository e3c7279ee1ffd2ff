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
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

PRECISIONS = ("auto", "fp32", "bf16")

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""A CPU that has one of these multiplies bf16 at twice the rate of fp32 at least."""

LARGEST_KEPT = 2**25 - 2**13
"""Bytes of the largest block that glibc keeps when it is freed: 32 MiB with what it adds."""

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


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type in which to multiply matrices.

    Args:
        precision: `"fp32"`, `"bf16"`, or `"auto"`: bf16 where the hardware multiplies it natively.
        device: Where the model is.

    Returns:
        `torch.float32` or `torch.bfloat16`.

    Raises:
        ValueError: If there is no such precision.
    """
    import torch

    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported()
        else:
            able = torch.cpu.get_capabilities()
            native = device.type == "cpu" and any(able.get(name) for name in BF16_INSTRUCTIONS)
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context of the forward pass; parameters, losses and KL stay in fp32."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16)


def product_dtype(weight: Tensor) -> torch.dtype:
    """The type in which a weight is multiplied: autocast's where that is on, else its own."""
    import torch

    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


@contextmanager
def full_speed(device: torch.device) -> Iterator[None]:
    """Context for work on a CPU; on other devices it does nothing.

    Memory: glibc gives freed blocks back to the system and has the next ones zeroed, page by page,
    which can take as long as filling them with scores. It keeps blocks up to the largest that it
    has seen freed, so it is shown one. That lasts beyond the context.

    Products in fp32: PyTorch's default, MKL, uses half the width of AMD's vector units that have
    AVX-512, and oneDNN all of it. PyTorch leaves fp32 to oneDNN where bf16 is allowed inside,
    which oneDNN makes use of on matrix units (AMX) only: there, and wherever products turn out to
    be rounded, nothing is changed. Inside, PyTorch's older way to ask for the precision,
    `torch.get_float32_matmul_precision`, may raise that both ways are mixed.
    """
    if device.type != "cpu":
        yield
        return
    import torch

    torch.empty(LARGEST_KEPT, dtype=torch.uint8)
    if not _onednn_is_quicker():
        yield
        return
    with _fp32_by_onednn():
        yield


def column_major(weight: Tensor) -> Tensor:
    """A layer's weight (V, H), within `full_speed`, as batches are multiplied with it quickest.

    oneDNN brings a matrix in fp32 that it meets transposed into order for each product anew, which
    with few rows takes longer than the product.
    """
    import torch

    is_in_fp32 = weight.device.type == "cpu" and weight.dtype == torch.float32
    if is_in_fp32 and _onednn_is_asked() and _onednn_is_quicker():
        return weight.t().contiguous().t()
    return weight


def _onednn_is_asked() -> bool:
    """Whether oneDNN has been asked to multiply fp32."""
    import torch

    asked: str = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    return asked == "bf16"


@cache
def _onednn_is_quicker() -> bool:
    import torch

    able = torch.cpu.get_capabilities()
    is_halved = "AMD" in able.get("cpu_name", "") and able.get("avx512_f", False)
    has_matrix_units = able.get("amx_tile", False)
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and is_halved and not has_matrix_units and _is_exact()


@contextmanager
def _fp32_by_onednn() -> Iterator[None]:
    import torch

    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _is_exact() -> bool:
    """Whether oneDNN's products hold whole numbers of 12 bits, which bf16 and tf32 would round."""
    import torch

    odd = 2049 + 2 * torch.arange(512 * 256).remainder(1023).view(512, 256)
    signs = torch.arange(256 * 1024).remainder(3).view(256, 1024) - 1
    with _fp32_by_onednn():
        return torch.equal(odd.float() @ signs.float(), (odd.double() @ signs.double()).float())
