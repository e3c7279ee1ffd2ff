"""What a run computes on: several processes, an arithmetic, a CPU at its full speed."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cache
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from textvae.checks import InputError, one_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

PRECISIONS = ("auto", "fp32", "bf16")
# A CPU that has one of these multiplies bf16 at twice the rate of fp32 at least.
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
# For each other: the first may have a large corpus to prepare. The launcher notices a dead one.
PATIENCE = timedelta(days=1)
# About 0.05 ms: longer than threads usually wait for each other, far shorter than a time slice.
SHORT_SPIN = "3000"
FEW_WEIGHTS = 1_000_000  # below which threads wait for each other: two take twice as long as one


class ElsewhereError(RuntimeError):
    """Another process could not do what this one needs; that one raises why."""


class Processes(NamedTuple):
    """Who this process is among those that a launcher started and `join` brought together.

    Code that takes a `Processes` does the same with `ALONE`, at no cost. Each method but `share` is
    to be called by all processes, in the same order: it waits for the others. Where a function that
    `first` or `in_turn` calls raises in one process, the others raise `ElsewhereError`.
    """

    rank: int = 0  # its number
    world: int = 1  # how many there are, on all machines
    local_rank: int = 0  # its number on its machine

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and messages."""
        return self.rank == 0

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """Every `world`-th item from number `rank` on: what this process does of them all."""
        return islice(items, self.rank, None, self.world)

    def gather(self, own: T) -> list[T]:
        """What each process has, in the order of their ranks, in every process."""
        if self.world == 1:
            return [own]
        from accelerate.utils import gather_object

        return gather_object([own])  # type: ignore[no-any-return]

    def any(self, own: bool) -> bool:
        """Whether it is true in any process."""
        return any(self.gather(own))

    def wait(self) -> None:
        """Wait until all have come this far, as where the first writes what others read."""
        self.gather(None)

    def first(self, function: Callable[[], T]) -> T:
        """What a function gives in the first process; it is called in no other."""
        given = self._together(function if self.is_first else None)
        return self.gather(given)[0]  # type: ignore[return-value]

    def in_turn(self, function: Callable[[], T]) -> T:
        """Call a function in each machine's first process, then, its caches filled, in others."""
        if self.local_rank != 0:
            self._together(None)
        given = self._together(function)
        if self.local_rank == 0:
            self._together(None)
        return given  # type: ignore[return-value]

    def _together(self, function: Callable[[], T] | None) -> T | None:
        """What a function gives, where there is one, once it has given something everywhere."""
        given = error = None
        try:
            given = function() if function else None
        except Exception as caught:
            error = caught
        failed = [message for message in self.gather(error and str(error)) if message is not None]
        if error is not None:
            raise error
        if failed:
            raise ElsewhereError(f"another process failed: {failed[0]}")
        return given


ALONE = Processes()  # one process that works alone


def is_first() -> bool:
    """Whether the launcher, if there was one, made this the process that writes messages."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def join(*, cpu: bool = False) -> Processes:
    """Bring together what a launcher started, unless done; `cpu` leaves accelerators unused."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and current() == ALONE:
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
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    return Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)


def sum_of_all(own: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients flow to each of them."""
    if current() == ALONE:
        return own
    from torch.distributed import all_reduce

    def summed(values: Tensor) -> Tensor:
        total = values.detach().clone()
        all_reduce(total)
        return total

    total = summed(own) + (own - own.detach())  # the way of the gradient, which is summed too
    if total.requires_grad:
        total.register_hook(summed)  # type: ignore[no-untyped-call]
    return total


def rows_of_all(own: Tensor) -> Tensor:
    """Tensors (…, b, Z) of all processes, one after the other, (…, N, Z), with their gradients."""
    processes = current()
    if processes == ALONE:
        return own
    from torch.nn.functional import pad

    sizes = processes.gather(own.shape[-2])
    before, after = sum(sizes[: processes.rank]), sum(sizes[processes.rank + 1 :])
    return sum_of_all(pad(own, (0, 0, before, after)))


def leave() -> None:
    """Part from the others, at the end."""
    if current() != ALONE:
        from accelerate import PartialState

        PartialState().destroy_process_group()


def has_bf16() -> bool:
    """Whether recurrent layers on this CPU know bf16 at all: on x86, oneDNN's need AVX-512."""
    import torch

    able = torch.cpu.get_capabilities()
    return able.get("architecture") != "x86_64" or bool(able.get("avx512_bw"))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type in which to multiply matrices; `"auto"` is bf16 where the hardware has it."""
    import torch

    if one_of("precision", precision, PRECISIONS) == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cpu":
            able = torch.cpu.get_capabilities()
            native = any(able.get(name) for name in BF16_INSTRUCTIONS)
        precision = "bf16" if native else "fp32"
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        raise InputError("precision must be auto or fp32: this CPU has no AVX-512, got 'bf16'")
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


def shorten_spin() -> None:
    """Call before torch is loaded: lets other programs have a core that a waiting thread holds.

    OpenMP's threads keep their cores for milliseconds while they wait for each other; where another
    program wants one too, training is ten times slower. What the user has set is left alone.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SHORT_SPIN)


def slowdown(speeds: Sequence[float]) -> str | None:
    """What to say if a training's last two log windows are far slower than its first three."""
    usual = median(speeds[:3])
    if max(speeds[-2:]) >= usual / 4:
        return None
    return (
        f"training is slow: {speeds[-1]:,.0f} tokens/s, {usual:,.0f} at first; where other "
        "programs need the CPU too, OMP_NUM_THREADS=1 may be faster"
    )


@contextmanager
def full_speed(device: torch.device, num_weights: float = math.inf) -> Iterator[None]:
    """Context for work on a CPU, with the same results to rounding; elsewhere it does nothing.

    A model of few weights is given one thread. Denormal numbers, which peaked softmax outputs make
    and which CPUs multiply slowly, count as 0.

    On AMD's processors with AVX-512, where MKL uses half the width of the vectors, oneDNN
    multiplies fp32. PyTorch has it do so where bf16 is allowed inside, of which oneDNN makes use on
    matrix units (AMX) only: there, and wherever products turn out to be rounded, nothing changes.
    Inside, `torch.get_float32_matmul_precision` may raise that two ways are mixed.
    """
    if device.type != "cpu":
        yield
        return
    import torch

    was_flushing = sys.float_info.min / 2 == 0  # torch has no getter
    torch.set_flush_denormal(True)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1 if num_weights < FEW_WEIGHTS else num_threads)
    try:
        with _fp32_by_onednn() if _onednn_is_quicker() else nullcontext():
            yield
    finally:
        torch.set_flush_denormal(was_flushing)
        torch.set_num_threads(num_threads)


@contextmanager
def _fp32_by_onednn() -> Iterator[None]:
    from torch.backends import mkldnn

    before = mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        mkldnn.matmul.fp32_precision = before  # type: ignore[attr-defined]


@cache
def _onednn_is_quicker() -> bool:
    """Whether it is on this CPU, and exact: bf16 and tf32 would round whole numbers of 12 bits."""
    import torch

    able = torch.cpu.get_capabilities()
    is_halved = "AMD" in able.get("cpu_name", "") and able.get("avx512_f", False)
    if not is_halved or able.get("amx_tile", False):
        return False
    odd = 2049 + 2 * torch.arange(512 * 256).remainder(1023).view(512, 256)
    signs = torch.arange(256 * 1024).remainder(3).view(256, 1024) - 1
    with _fp32_by_onednn():
        return torch.equal(odd.float() @ signs.float(), (odd.double() @ signs.double()).float())
