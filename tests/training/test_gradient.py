"""Tests of `textvae.training.gradient` in one process: micro-batches do what the batch does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textvae.losses import FREE_BITS
from textvae.training import Trainer
from textvae.training.shares import shares

Build = Callable[..., Trainer]
STILL = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}


def first_pass(trainer: Trainer, batch_number: int = 0) -> tuple[list[float], dict[str, Tensor]]:
    """What the first pass gives, and the gradients it leaves."""
    trainer.model.train()
    trainer.randomness.begin(0)
    share = list(shares(trainer.train, 0, 0, trainer.processes))[batch_number]
    found = trainer.gradient.add(share)
    values = [float(x.detach()) for x in (*found.terms, found.weighed_kl, found.loss)]
    named = trainer.model.named_parameters()
    return values, {name: parameter.grad for name, parameter in named if parameter.grad is not None}


@pytest.mark.parametrize("kind", sorted(FREE_BITS))
@pytest.mark.parametrize("accumulate", [2, 3, 99])
def test_gradient_and_terms_are_those_of_the_whole_batch(
    build: Build, tmp_path: Path, sixty: list[str], kind: str, accumulate: int
) -> None:
    options: dict[str, Any] = {
        **STILL,
        "train": sixty[:7],
        "warmup_epochs": 0.0,
        # So that some KL are above the floor and some under it, of which means say another thing.
        "free_bits": 0.002 if kind in ("batch", "max", "mask") else 0.004,
        "free_bits_kind": kind,
    }
    values, gradients = first_pass(build(tmp_path / "whole", **options))
    of_parts, in_parts = first_pass(build(tmp_path / "cut", accumulate=accumulate, **options))
    assert of_parts == pytest.approx(values, rel=1e-5)
    assert set(in_parts) == set(gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(in_parts[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_language_model_in_micro_batches(build: Build, tmp_path: Path) -> None:
    values, gradients = first_pass(build(tmp_path / "whole", latent_dim=0, **STILL))
    cut = build(tmp_path / "cut", latent_dim=0, accumulate=3, **STILL)
    of_parts, in_parts = first_pass(cut)
    assert of_parts == pytest.approx(values, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(in_parts[name], gradient, rtol=1e-4, atol=1e-7)


def test_the_annealer_is_called_once_for_a_batch_not_for_each_part(
    build: Build, tmp_path: Path
) -> None:
    calls: list[float] = []

    class Counting:
        def __call__(self, kl: Any) -> Any:
            calls.append(float(kl.detach()))
            return kl

        def step(self) -> None:
            calls.append(-1)

    trainer = build(tmp_path / "run", annealer=Counting(), accumulate=4, max_steps=2)
    trainer.fit()
    assert [call == -1 for call in calls] == [False, True] * 2
    assert min(calls[::2]) > 0


def test_dropout_and_noise_are_drawn_apart(build: Build, tmp_path: Path) -> None:
    trainer = build(tmp_path / "run", accumulate=2)
    trainer.randomness.begin(0)
    share = next(shares(trainer.train, 0, 0, trainer.processes))
    noise = trainer.randomness.noise(share, 3)
    assert noise is not None
    assert noise.shape == (8, 3)
    assert not torch.equal(noise, torch.randn(8, 3))


def test_a_run_in_micro_batches_resumed(
    build: Build,
    left_behind: Callable[[Trainer], dict[str, Any]],
    uninterrupted: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    build(tmp_path / "run", accumulate=3, max_steps=8).fit()
    second = build(tmp_path / "run", max_steps=None)
    second.fit()
    assert left_behind(second) == uninterrupted(accumulate=3)
