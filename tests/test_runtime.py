"""Tests of `textvae.runtime`; of several processes: `tests/training/test_processes.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from textvae import runtime
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.cli import exit_code_of
from textvae.cli.command import say
from textvae.diagnostics import evaluate, importance_nll, z_ablation
from textvae.generation import decode
from textvae.model import SentenceVAE
from textvae.runtime import (
    ALONE,
    ElsewhereError,
    Processes,
    SlowdownWatch,
    current,
    full_speed,
    is_first,
    join,
    leave,
    resolve_precision,
)

CPU, META = torch.device("cpu"), torch.device("meta")


# Processes


def test_without_a_launcher_one_works_alone() -> None:
    assert join() == current() == ALONE
    assert is_first()
    leave()  # nobody to leave


def test_alone_everything_is_one_s_own() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    gathered = ALONE.gather_rows(rows, 3)
    assert gathered.tolist() == rows.tolist()
    assert not gathered.requires_grad
    assert ALONE.gather("mine") == ["mine"]
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.first(lambda: 1) == ALONE.in_turn(lambda: 1) == 1
    ALONE.wait()


@pytest.mark.parametrize("how", ["first", "in_turn"])
def test_alone_an_error_is_what_it_was(how: str) -> None:
    with pytest.raises(ZeroDivisionError):
        getattr(ALONE, how)(lambda: 1 // 0)


def test_shares_are_disjoint_and_all() -> None:
    shares = [list(Processes(rank, 3).share(range(7))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize(("rank", "said"), [("0", "textvae: hear\n"), ("1", "")])
def test_the_first_writes_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, said: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    say("hear")
    assert capsys.readouterr().err == said


def test_who_failed_says_so_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    def fail(error: Exception) -> None:
        raise error

    assert exit_code_of(lambda: fail(ElsewhereError("another process failed: x"))) == 2
    assert capsys.readouterr().err == ""
    assert exit_code_of(lambda: fail(InputError("mine alone"))) == 2
    assert capsys.readouterr().err == "textvae: error: mine alone\n"


# Precision


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
def test_auto_takes_what_the_processor_multiplies_natively(
    monkeypatch: pytest.MonkeyPatch, asked: str, device: Any, able: Any, given: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert resolve_precision(asked, device) == given


def test_another_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision must be one of auto, fp32, bf16, got 'fp8'"):
        resolve_precision("fp8", CPU)


# Threads that wait


def environment(code: str, **given: str) -> str:
    """What GOMP_SPINCOUNT is after some code in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", f"import os; {code}; print(os.environ.get('GOMP_SPINCOUNT'))"]
    env = {**inherited, "OMP_NUM_THREADS": "2", **given}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


SHORTEN = "from textvae.runtime import shorten_spin; shorten_spin()"


@pytest.mark.parametrize(
    ("code", "given", "found"),
    [
        (SHORTEN, {}, runtime.SHORT_SPIN),
        (SHORTEN, {"GOMP_SPINCOUNT": "7"}, "7"),
        (SHORTEN, {"OMP_WAIT_POLICY": "active"}, "None"),
        (f"import torch; {SHORTEN}", {}, "None"),  # too late: children would differ from us
        ("import textvae, textvae.runtime; textvae.SentenceVAE", {}, "None"),
        (
            "from textvae import cli\ntry: cli.main(['--help'])\nexcept SystemExit: print()",
            {},
            runtime.SHORT_SPIN,
        ),
    ],
    ids=["set", "the user's", "the user's policy", "torch is there", "library", "command line"],
)
def test_only_a_program_that_loads_torch_later_is_told_to_wait_shortly(
    code: str, given: dict[str, str], found: str
) -> None:
    assert environment(code.replace("\n", "\n"), **given).splitlines()[-1] == found


def test_torch_heeds_what_is_set_before_it_is_loaded() -> None:
    code = f"os.environ['OMP_DISPLAY_ENV'] = 'VERBOSE'; {SHORTEN}; import torch"
    command = [sys.executable, "-c", f"import os; {code}"]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    told = subprocess.run(command, env=inherited, check=True, capture_output=True, text=True).stderr
    if "GOMP_SPINCOUNT" not in told:
        pytest.skip("torch multiplies with another OpenMP than GNU's")
    assert f"GOMP_SPINCOUNT = '{runtime.SHORT_SPIN}'" in told


@pytest.mark.parametrize(
    ("speeds", "told_at"),
    [
        ([100, 100, 100, 24, 24, 24], 4),  # the second slow one
        ([100, 1, 110, 24, 24], 4),  # one slow start does not make slow the usual
        ([100, 100, 100, 26, 26, 26], None),  # not far slower
        ([100, 100, 100, 1, 90, 1, 90], None),  # a pause is not told
        ([24, 24, 24, 24], None),
        ([1, 1], None),
    ],
)
def test_a_run_that_becomes_slow_is_told_once(speeds: list[float], told_at: int | None) -> None:
    watch = SlowdownWatch()
    told = [watch.observe(speed) for speed in [*speeds, *([1.0, 1.0, 100.0, 1.0, 1.0] * 2)][:9]]
    first = next(i for i, message in enumerate([*told, ""]) if message is not None)
    assert (first if first < len(speeds) else None) == told_at
    assert sum(message is not None for message in told) <= 1


def test_how_slow_is_said() -> None:
    watch = SlowdownWatch()
    said = [watch.observe(speed) for speed in (9000.4, 7000, 8000, 1500, 1200)]
    assert str(said[-1]).startswith("training is slow: 1,200 tokens/s, 8,000 at first; ")


# Full speed

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


def keeps_denormals() -> bool:
    return bool(torch.tensor(1e-30) * torch.tensor(1e-10) > 0)


@pytest.mark.parametrize("was_flushing", [False, True])
def test_denormals_are_flushed_inside_and_as_before_outside(was_flushing: bool) -> None:
    torch.set_flush_denormal(was_flushing)
    try:
        with full_speed(CPU):
            with full_speed(CPU):
                assert not keeps_denormals()
            assert not keeps_denormals()
        assert keeps_denormals() != was_flushing
        with pytest.raises(KeyError), full_speed(CPU):
            raise KeyError
        assert keeps_denormals() != was_flushing
    finally:
        torch.set_flush_denormal(False)


def test_other_devices_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_onednn_is_quicker", lambda: pytest.fail("asked"))
    before = setting()
    with full_speed(META):
        assert setting() == before
        assert keeps_denormals()


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
