"""What a CPU needs to be as fast as it can: `full_speed`, and `laid_out` for a matrix.

Results are the same, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

__all__ = ["full_speed", "laid_out"]

LARGEST_KEPT = 2**25 - 2**13
"""Bytes of the largest block that glibc keeps when it is freed: 32 MiB with what it adds."""


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
    torch.empty(LARGEST_KEPT, dtype=torch.uint8)
    if not _onednn_is_quicker():
        yield
        return
    with _fp32_by_onednn():
        yield


def laid_out(weight: Tensor) -> Tensor:
    """A layer's weight (V, H), within `full_speed`, as batches are multiplied with it quickest.

    oneDNN brings a matrix in fp32 that it meets transposed into order for each product anew, which
    with few rows takes longer than the product.
    """
    is_in_fp32 = weight.device.type == "cpu" and weight.dtype == torch.float32
    if is_in_fp32 and _onednn_is_asked() and _onednn_is_quicker():
        return weight.t().contiguous().t()
    return weight


def _onednn_is_asked() -> bool:
    """Whether oneDNN has been asked to multiply fp32."""
    asked: str = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    return asked == "bf16"


@cache
def _onednn_is_quicker() -> bool:
    able = torch.cpu.get_capabilities()
    is_halved = "AMD" in able.get("cpu_name", "") and able.get("avx512_f", False)
    has_matrix_units = able.get("amx_tile", False)
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and is_halved and not has_matrix_units and _is_exact()


@contextmanager
def _fp32_by_onednn() -> Iterator[None]:
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _is_exact() -> bool:
    """Whether oneDNN's products hold whole numbers of 12 bits, which bf16 and tf32 would round."""
    odd = 2049 + 2 * torch.arange(512 * 256).remainder(1023).view(512, 256)
    signs = torch.arange(256 * 1024).remainder(3).view(256, 1024) - 1
    with _fp32_by_onednn():
        return torch.equal(odd.float() @ signs.float(), (odd.double() @ signs.double()).float())
