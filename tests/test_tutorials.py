"""Every line of `docs/tutorials.md`, held to the formula or the code of the text it names."""

import functools
import importlib
import math
import re
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae import annealers, cli, diagnostics, losses
from textvae.config import TrainingConfig
from textvae.interop import vae_annealing

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
CHAPTERS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
ROWS = {
    f"{chapter.splitlines()[0]}: {name}": where
    for chapter in CHAPTERS
    for name, where in re.findall(r"^\| ([^|]+?) \| `([^`]+)` \|", chapter, re.MULTILINE)
}
"""What each line is about, and where the page says it is."""

torch.manual_seed(0)
X = torch.bernoulli(torch.rand(4, 6))
RECON = torch.rand(4, 6) * 0.9 + 0.05
MU, LOGVAR = torch.randn(4, 3), torch.randn(4, 3)
PER_DIM = -0.5 * (1 + LOGVAR - MU.pow(2) - LOGVAR.exp())
BCE, KL = float(F.binary_cross_entropy(RECON, X, reduction="sum")), float(PER_DIM.sum())
STEPS = (0, 1, 2, 3, 9, 10, 12, 50, 100, 140)
FLOORED = float(torch.clamp(PER_DIM, min=0.1).sum())


def numbers(terms: Iterable[Tensor]) -> list[float]:
    return [float(term) for term in terms]


def applied(annealer: annealers.KLAnnealer, steps: int) -> list[float]:
    weights = []
    for _ in range(steps):
        weights.append(annealer(1.0))
        annealer.step()
    return weights


def annealed_objective() -> float:
    beta = annealers.LinearAnnealer(10)
    beta.step()
    rec = {"rec": torch.full((4,), 5.0)}
    return float(losses.objective(rec, losses.kl_per_dimension(MU, LOGVAR), beta).loss)


def cyclical_kl_weight(step: int, cycle_length: int, ratio: float) -> float:
    """The text's."""
    position, rising = step % cycle_length, cycle_length * ratio
    return position / rising if position < rising else 1.0


def gradient_norm() -> tuple[float, float]:
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).square().sum().backward()
    squares = [p.grad.norm(2).item() ** 2 for p in layer.parameters()]
    return float(diagnostics.gradient_norm(layer)), sum(squares) ** 0.5


def configurations(name: str) -> list[Any]:
    script = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))
    return list(script["EXPERIMENTS"][name].configurations.values())


LOSSES: dict[str, tuple[Callable[..., Iterable[Tensor]], list[float]]] = {
    "vae-annealing: VAELoss": (vae_annealing.VAELoss(), [BCE, KL]),
    "VAE Optimization: sum and mean": (
        functools.partial(losses.vae_loss, reduction="mean"),
        [(BCE + KL) / 4, BCE / 4, KL / 4],
    ),
    "VAE Loss Function: vae_loss": (losses.vae_loss, [BCE + KL, BCE, KL]),
    "VAE Loss Function: beta_vae_loss": (losses.beta_vae_loss, [BCE + 4 * KL, BCE, KL]),
    "VAE Loss Function: vae_loss_free_bits": (losses.vae_loss_free_bits, [BCE + FLOORED, BCE, KL]),
    "VAE Loss Function: VAELoss": (losses.VAELoss("bce", 4.0, 0.1), [BCE + 4 * FLOORED, BCE, KL]),
}
"""Losses of a reconstruction, and the text's."""

OF_THE_TEXT: dict[str, Callable[[], tuple[Any, Any]]] = {
    "KL Annealing: annealed objective": lambda: (annealed_objective(), 5 + 0.1 * KL / 4),
    "KL Annealing: linear_annealing": lambda: (
        [annealers.linear_annealing(step, 10, max_beta=2.0) for step in STEPS],
        [2.0 * step / 10 if step < 10 else 2.0 for step in STEPS],
    ),
    "KL Annealing: sigmoid_annealing": lambda: (
        [annealers.sigmoid_annealing(step, 100, k=10) for step in STEPS],
        [1.0 / (1 + math.exp(-(step - 100 / 2) / (100 / 10))) for step in STEPS],
    ),
    "KL Annealing: cyclical_annealing": lambda: (
        [annealers.cyclical_annealing(step, 10, ratio=0.29) for step in STEPS],
        [min(step % 10 / int(10 * 0.29), 1.0) for step in STEPS],
    ),
    "KL Annealing: no annealing, β = 1": lambda: (
        applied(annealers.ConstantAnnealer(), 9),
        [1.0] * 9,
    ),
    "vae-annealing: basic annealing": lambda: (
        applied(vae_annealing.Annealer(20, shape="cosine"), 100)[20:],
        [1.0] * 80,
    ),
    "VAE Optimization: per-dimension normalisation": lambda: (
        numbers(losses.nats_per_dimension(torch.tensor(78.4), torch.tensor(6.4), 784, 32)),
        [0.1, 0.2],
    ),
    "VAE Optimization: monitoring": lambda: (
        diagnostics.active_dimensions([0.5, 0.02, 0.005, 0.0], threshold=0.01),
        2,
    ),
    "VAE Optimization: compute_gradient_norm": gradient_norm,
    "VAE Loss Function: bce_reconstruction": lambda: (losses.bce_reconstruction(RECON, X), BCE),
    "VAE Loss Function: mse_reconstruction": lambda: (
        losses.mse_reconstruction(RECON, X),
        float(F.mse_loss(RECON, X, reduction="sum")),
    ),
    "VAE Loss Function: kl_divergence": lambda: (losses.kl_divergence(MU, LOGVAR), KL),
    "VAE Loss Function: get_kl_weight": lambda: (
        [annealers.linear_annealing(epoch, 10) for epoch in (0, 5, 10, 20)],
        [0, 0.5, 1, 1],
    ),
    "VAE Loss Function: cyclical_kl_weight": lambda: (
        [annealers.cyclical_annealing(step, 20, 0.25) for step in STEPS],
        [cyclical_kl_weight(step, 20, 0.25) for step in STEPS],
    ),
    "VAE Loss Function: Exercise 2, β": lambda: (
        [options["max_beta"] for options in configurations("beta")],
        [0.1, 1, 4, 10],
    ),
    "VAE Optimization: Exercise 2, learning rates": lambda: (
        [options["lr"] for options in configurations("learning-rates")],
        [1e-2, 1e-3, 1e-4, 1e-5],
    ),
    "VAE Optimization: practical guidelines": lambda: (
        [TrainingConfig().lr, TrainingConfig().clip_norm],
        [1e-3, 5.0],
    ),
}
"""What ours gives, and the text's formula or code."""

ELSEWHERE = {
    "KL Annealing: train_with_annealing": "test_what_is_logged",
    "KL Annealing: warm-up rules of thumb": "test_every_experiment_is_of_options_that_exist",
    "KL Annealing: Exercise 1, schedules": "test_remedies_from_options_to_results",
    "KL Annealing: Exercise 2, warm-up": "test_every_experiment_is_of_options_that_exist",
    "vae-annealing: Annealer": "test_package_table",
    "vae-annealing: cyclical, off at 30, on at 70": "test_switching_is_the_documented_loop",
    "vae-annealing: figures": "test_the_figures_can_be_drawn_and_the_cycles_follow_the_options",
    "VAE Optimization: Adam, AdamW": "test_a_decay_forgets_momentum_and_keeps_the_optimizer",
    "VAE Optimization: train_vae": "test_it_learns_while_the_weight_rises",
    "VAE Optimization: Exercise 1, optimizers": "test_every_experiment_is_of_options_that_exist",
    "VAE Loss Function: train_epoch": "test_it_learns_while_the_weight_rises",
    "VAE Loss Function: Exercise 1, MSE or BCE": "test_squared_errors_serve_too",
    "VAE Loss Function: Exercise 3, schedules": "test_remedies_from_options_to_results",
}
"""Lines whose test stands in another file."""


def test_every_line_has_a_test_and_every_test_a_line():
    assert sorted(ROWS) == sorted([*LOSSES, *OF_THE_TEXT, *ELSEWHERE])
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/test_*.py"))
    assert [name for name in ELSEWHERE.values() if f"def {name}" not in tests] == []


@pytest.mark.parametrize("row", LOSSES)
def test_losses_are_those_of_the_text(row):
    loss, expected = LOSSES[row]
    assert numbers(loss(RECON, X, MU, LOGVAR)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("row", OF_THE_TEXT)
def test_ours_is_that_of_the_text(row):
    ours, theirs = OF_THE_TEXT[row]()
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("where", sorted(set(ROWS.values())))
def test_everything_is_where_the_page_says(where):
    if where.startswith("textvae."):
        module, _, name = where.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    elif where.startswith("textvae "):
        assert where.split()[1] in cli.COMMANDS
    else:
        path, *arguments = where.split()
        source = (ROOT / path).read_text(encoding="utf-8")
        assert all(argument.removeprefix("--") in source for argument in arguments)
