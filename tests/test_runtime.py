"""Tests of `textvae.runtime`; of several processes: `tests/training/test_processes.py`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from textvae import runtime
from textvae.batches import collate
from textvae.checks import InputError
from textvae.cli import exit_code_of
from textvae.cli.command import say
from textvae.diagnostics import evaluate, importance_nll, posteriors, z_ablation
from textvae.generation import decode
from textvae.runtime import ALONE, ElsewhereError, Processes, full_speed

CPU, META = torch.device("cpu"), torch.device("meta")


def test_without_a_launcher_one_works_alone():
    assert runtime.join() == runtime.current() == ALONE
    assert runtime.is_first()
    runtime.leave()  # nobody to leave
    assert ALONE.gather("mine") == ["mine"]
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.first(lambda: 1) == ALONE.in_turn(lambda: 1) == 1
    ALONE.wait()
    for call in (ALONE.first, ALONE.in_turn):
        with pytest.raises(ZeroDivisionError):
            call(lambda: 1 // 0)


def test_shares_are_disjoint_and_all():
    shares = [list(Processes(rank, 3).share(range(7))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


def test_the_first_writes_messages_and_who_failed_says_so(monkeypatch, capsys):
    def fail() -> None:
        raise ElsewhereError("another process failed: x")

    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        say(f"from {rank}")
        assert exit_code_of(fail) == 2
    assert capsys.readouterr().err == "textvae: from 0\n"


@pytest.mark.parametrize(
    ("asked", "device", "able", "given"),
    [
        ("fp32", CPU, {"amx_bf16": True}, torch.float32),
        ("bf16", CPU, {}, torch.bfloat16),
        ("auto", CPU, {"amx_bf16": True}, torch.bfloat16),
        ("auto", CPU, {"avx512_bf16": True}, torch.bfloat16),
        ("auto", CPU, {"avx512_bf16": False, "avx512_f": True}, torch.float32),
        ("auto", META, {"amx_bf16": True}, torch.float32),  # what the CPU can is not asked
    ],
)
def test_auto_takes_what_the_processor_multiplies_natively(monkeypatch, asked, device, able, given):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert runtime.resolve_precision(asked, device) == given
    with pytest.raises(InputError, match="precision must be one of auto, fp32, bf16, got 'fp8'"):
        runtime.resolve_precision("fp8", device)


def test_a_cpu_without_bf16_says_so(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"})
    with pytest.raises(InputError, match=r"precision must be auto or fp32: .* AVX-512, got 'bf16'"):
        runtime.resolve_precision("bf16", CPU)


SHORTEN = "from textvae.runtime import shorten_spin; shorten_spin()"
HELP = "from textvae import cli\ntry: cli.main(['--help'])\nexcept SystemExit: print()"


@pytest.mark.parametrize(
    ("code", "given", "spin"),
    [
        (SHORTEN, {}, runtime.SHORT_SPIN),
        (SHORTEN, {"GOMP_SPINCOUNT": "7"}, "7"),  # the user's
        (SHORTEN, {"OMP_WAIT_POLICY": "active"}, None),
        (f"import torch; {SHORTEN}", {}, None),  # too late: it would tell children alone
        ("import textvae, textvae.runtime; textvae.SentenceVAE", {}, None),
        (HELP, {}, runtime.SHORT_SPIN),
    ],
)
def test_only_a_program_that_loads_torch_later_shortens_the_spin(code, given, spin):
    code += "\nimport os, torch; print(os.environ.get('GOMP_SPINCOUNT'))"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    env = {**inherited, **given, "OMP_DISPLAY_ENV": "VERBOSE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(spin)
    if spin is not None and "GOMP_SPINCOUNT" in done.stderr:  # of GNU's OpenMP, loaded by torch
        assert f"GOMP_SPINCOUNT = '{spin}'" in done.stderr


@pytest.mark.parametrize(
    ("speeds", "told_at"),
    [
        ([100, 100, 100, 24, 24, 24], 4),  # the second slow one, and no other
        ([1, 100, 110, 24, 24, 100, 1, 1], 4),  # a slow start does not count as usual
        ([100, 100, 100, 26, 26, 26], None),  # not far slower
        ([100, 100, 100, 1, 90, 1, 90], None),  # a pause
        ([24, 24, 24, 24], None),
    ],
)
def test_a_run_that_becomes_slow_is_told(speeds, told_at):
    told = [i for i in range(len(speeds)) if runtime.slowdown(speeds[: i + 1])]
    assert told[:1] == ([] if told_at is None else [told_at])
    said = "training is slow: 24 tokens/s, 100 at first"
    assert told_at is None or str(runtime.slowdown(speeds[: told_at + 1])).startswith(said)


ABLE = {"cpu_name": "AMD EPYC", "avx512_f": True, "amx_tile": False}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    runtime._onednn_is_quicker.cache_clear()
    yield
    runtime._onednn_is_quicker.cache_clear()


def setting() -> tuple[str, bool]:
    """What multiplies fp32, and whether denormal numbers are kept."""
    keeps = bool(torch.tensor(1e-30) * torch.tensor(1e-10) > 0)
    return str(torch.backends.mkldnn.matmul.fp32_precision), keeps


QUICK = "bf16", False


def pretend(monkeypatch: pytest.MonkeyPatch, able: dict[str, Any] = ABLE) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    if able.get("rounds"):
        product = torch.Tensor.__matmul__

        def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            is_fp32 = a.dtype == torch.float32
            return product(a.bfloat16().float(), b.bfloat16().float()) if is_fp32 else product(a, b)

        monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)


def test_products_are_those_of_fp32():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=generator) for size in ((300, 256), (256, 2000)))
    with full_speed(CPU):
        found = a @ b
    apart = (found - a.double() @ b.double()).abs().max() / found.abs().max()
    assert apart < 2e-6  # of bf16 it would be 1e-3, of tf32 1e-4


def test_a_small_model_has_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with full_speed(CPU, 999_999):
            assert torch.get_num_threads() == 1
        with full_speed(CPU, 1_000_000):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("was_flushing", [False, True])
def test_settings_are_put_back(monkeypatch, was_flushing):
    pretend(monkeypatch)
    torch.set_flush_denormal(was_flushing)
    try:
        before = setting()
        assert before == ("none", not was_flushing)
        with full_speed(CPU):
            with full_speed(CPU):
                assert setting() == QUICK
            assert setting() == QUICK
        assert setting() == before
        with pytest.raises(KeyError), full_speed(CPU):
            raise KeyError
        assert setting() == before
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    "able",
    [
        {**ABLE, "cpu_name": "Intel(R) Xeon(R)"},  # MKL is as quick there
        {**ABLE, "avx512_f": False},  # nothing is halved
        {**ABLE, "amx_tile": True},  # bf16 would be made use of
        {**ABLE, "rounds": True},  # products turn out to be rounded
        {"architecture": "aarch64"},
    ],
)
def test_other_processors_keep_the_default(monkeypatch, able):
    pretend(monkeypatch, able)
    before, _ = setting()
    with full_speed(CPU):
        assert setting() == (before, False)


def test_other_devices_are_left_alone(monkeypatch):
    monkeypatch.setattr(runtime, "_onednn_is_quicker", lambda: pytest.fail("asked"))
    before = setting()
    with full_speed(META):
        assert setting() == before


def test_evaluation_and_decoding_are_at_full_speed(monkeypatch, tiny_model):
    pretend(monkeypatch)
    before, seen = setting(), []
    tiny_model.decoder.rnn.register_forward_hook(lambda *_: seen.append(setting()))
    batches = [collate([[4, 5], [6]])]
    for work in (
        lambda: evaluate(tiny_model, batches, 2),
        lambda: importance_nll(tiny_model, batches, num_samples=2),
        lambda: z_ablation(tiny_model, batches, posteriors(tiny_model, batches, 2)),
        lambda: decode(tiny_model, torch.zeros(2, 3), max_length=2),
        lambda: decode(tiny_model, torch.zeros(2, 3), max_length=2, strategy="beam"),
    ):
        seen.clear()
        work()
        assert set(seen) == {QUICK}
        assert setting() == before
