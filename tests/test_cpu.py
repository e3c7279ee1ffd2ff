"""What lets a CPU be as fast as it can: nothing may change but the time."""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from textvae import runtime
from textvae.batches import Batch
from textvae.diagnostics import evaluate, importance_nll, z_ablation
from textvae.generation import decode
from textvae.model import SentenceVAE
from textvae.runtime import column_major, full_speed

CPU = torch.device("cpu")

ABLE = {"cpu_name": "AMD EPYC", "avx512_f": True, "amx_tile": False}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    runtime._onednn_is_quicker.cache_clear()
    yield
    runtime._onednn_is_quicker.cache_clear()


def setting() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)


def pretend(monkeypatch: pytest.MonkeyPatch, *, is_exact: bool = True, **able: Any) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**ABLE, **able})
    monkeypatch.setattr(runtime, "_is_exact", lambda: is_exact)


def test_products_are_those_of_fp32() -> None:
    a = torch.randn(300, 256, generator=torch.Generator().manual_seed(0))
    b = torch.randn(256, 2000, generator=torch.Generator().manual_seed(1))
    with full_speed(CPU):
        found = a @ b
    apart = (found - a.double() @ b.double()).abs().max() / found.abs().max()
    assert apart < 2e-6  # of bf16 it would be 1e-3, of tf32 1e-4


def test_whole_numbers_tell_rounding_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    product = torch.Tensor.__matmul__
    assert runtime._is_exact() or torch.cpu.get_capabilities().get("amx_tile")

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype != torch.float32:
            return product(a, b)
        return product(a.bfloat16().float(), b.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not runtime._is_exact()


def test_the_setting_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    before = setting()
    assert before != "bf16"
    with full_speed(CPU):
        assert setting() == "bf16"
        with full_speed(CPU):
            assert setting() == "bf16"
        assert setting() == "bf16"
    assert setting() == before
    with pytest.raises(KeyError), full_speed(CPU):
        raise KeyError
    assert setting() == before


@pytest.mark.parametrize(
    "otherwise",
    [
        {"cpu_name": "Intel(R) Xeon(R)"},  # MKL is as quick there
        {"avx512_f": False},  # nothing is halved
        {"amx_tile": True},  # bf16 would be made use of
        {"is_exact": False},  # whatever the reason
        {"cpu_name": ""},
    ],
)
def test_other_processors_keep_the_default(
    monkeypatch: pytest.MonkeyPatch, otherwise: dict[str, Any]
) -> None:
    pretend(monkeypatch, **otherwise)
    before = setting()
    with full_speed(CPU):
        assert setting() == before


def test_processors_that_tell_nothing_keep_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"})
    before = setting()
    with full_speed(CPU):
        assert setting() == before


def test_other_devices_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(runtime, "_onednn_is_quicker", refuse)
    before = setting()
    with full_speed(torch.device("meta")):
        assert setting() == before


def test_a_weight_is_column_major_where_onednn_multiplies_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch)
    weight = torch.randn(7, 3)
    assert column_major(weight) is weight
    with full_speed(CPU):
        found = column_major(weight)
        assert torch.equal(found, weight)
        assert found.stride() == (1, 7)
        for other in (weight.bfloat16(), weight.double(), torch.empty(7, 3, device="meta")):
            assert column_major(other) is other
        pretend(monkeypatch, is_exact=False)
        runtime._onednn_is_quicker.cache_clear()
        assert column_major(weight) is weight


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's way with memory")
def test_freed_memory_is_used_again() -> None:
    with full_speed(CPU):
        for _ in range(3):
            torch.ones(2**22)  # 16 MiB, 4,096 pages
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.ones(2**22)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4096


def test_evaluation_and_decoding_are_at_full_speed(
    monkeypatch: pytest.MonkeyPatch, tiny_model: SentenceVAE, make_batch: Callable[..., Batch]
) -> None:
    pretend(monkeypatch)
    before, seen = setting(), list[str]()
    tiny_model.decoder.rnn.register_forward_hook(lambda *_: seen.append(setting()))
    batches = [make_batch([[4, 5], [6]])]
    for work in (
        lambda: evaluate(tiny_model, batches, 2),
        lambda: importance_nll(tiny_model, batches, num_samples=2),
        lambda: z_ablation(tiny_model, batches, 2),
        lambda: decode(tiny_model, torch.zeros(2, 3), max_length=2),
        lambda: decode(tiny_model, torch.zeros(2, 3), max_length=2, strategy="beam"),
    ):
        seen.clear()
        work()
        assert set(seen) == {"bf16"}
        assert setting() == before
