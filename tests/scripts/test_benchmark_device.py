"""Tests of `benchmark.py device`, on the CPU: the figures, and that no accelerator is outrun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.benchmarking import part

Run = Callable[..., Any]

SIZES = ["--batch-size=4", "--steps=3", "--num-samples=5", "--num-evaluated=3", "--num-sampled=6"]
ELSEWHERE = torch.device("meta")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Whenever an accelerator would be waited for."""
    seen: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", seen.append)
    return seen


def test_device(benchmark: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    answer = benchmark("device", *SIZES, "--rounds=2", "--threads=1", "--json=found.json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["device"] == "cpu"
    names = [
        f"{what}, {p}" for p in ("fp32", "bf16") for what in ("training", "IW-NLL", "sampling")
    ]
    for name in names:
        rates = found["also"].pop(name)
        assert 0 < rates["least"] <= rates["tokens/s"] <= rates["most"]
        assert rates["share of the limit"] > 0
    for precision in ("fp32", "bf16"):
        shares = found["also"].pop(f"operators of training steps, {precision}")
        assert "aten::mm" in shares
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert 0.3 < sum(shares.values()) <= 1
    assert found["also"] == {}


def test_the_clock_waits_for_an_accelerator(
    benchmark: Run, waits: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, measuring = part("device"), part("measuring")
    clock: list[int] = []

    def now() -> float:
        clock.append(len(waits))
        return float(len(clock))

    monkeypatch.setattr(measuring.time, "perf_counter", now)
    device.rates(lambda: 10.0, measuring.Limit(2.0), ELSEWHERE, 1)
    assert waits == [ELSEWHERE] * 8  # the unmeasured pass, the measured one, six products
    assert clock[:2] == [1, 2]
    assert clock[2:] == [2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8]


def test_training_steps_are_not_held_up(benchmark: Run, waits: list[torch.device]) -> None:
    train, subject = part("train"), part("subject")
    sentences = subject.Sentences([[5] * n for n in range(12)], "somewhere")
    assert train.our_steps(subject.new_model(), sentences, 2, "fp32", ELSEWHERE).seconds > 0
    assert waits == [ELSEWHERE] * 2


def test_no_accelerator_no_waiting(benchmark: Run, waits: list[torch.device]) -> None:
    part("arithmetic").settle(torch.device("cpu"))
    assert waits == []
