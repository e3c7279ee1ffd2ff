"""Every line of `docs/tutorials.md`, held to the formula or the code of the text it names."""

from __future__ import annotations

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

from tests.scripts.running import run_script
from tests.sizes import SMALL
from textvae import annealers, cli, diagnostics, losses
from textvae.config import TrainingConfig
from textvae.corpus import load_corpus
from textvae.interop import vae_annealing
from textvae.recipes import start

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


@functools.cache
def help_of(script: str) -> str:
    answer = run_script(script, "--help")
    assert answer.code == 0
    return " ".join(answer.out.split())


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


def cyclical_kl_weight() -> None:
    def of_the_text(step: int, cycle_length: int, ratio: float) -> float:
        position, rising = step % cycle_length, cycle_length * ratio
        return position / rising if position < rising else 1.0

    for step in range(40):  # a rise of 5 steps
        theirs = of_the_text(step, 20, 0.25)
        assert annealers.cyclical_annealing(step, 20, 0.25) == pytest.approx(theirs)
    # a rise of 2.5 steps, of which ours takes 2
    assert (of_the_text(1, 10, 0.25), annealers.cyclical_annealing(1, 10, 0.25)) == (0.4, 0.5)


def train_with_annealing(tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("\n".join(f"the {w} cat runs {w}" for w in "abcdefgh" * 5), encoding="utf-8")
    trainer = start(load_corpus(text), {**SMALL, "log_every": 1}, tmp_path / "run")
    trainer.fit()
    betas = [record["beta"] for record in trainer.run.metrics() if record["split"] == "train"]
    batches = len(trainer.train)
    rising = [step / batches for step in range(batches)]
    assert betas[:batches] == pytest.approx(rising)
    assert set(betas[batches:]) == {1.0}


def warmup_experiment() -> None:
    assert "warmup" in help_of("experiments")
    script = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))
    warmup = script["EXPERIMENTS"]["warmup"]
    lengths = [options["warmup_epochs"] for options in warmup.configurations.values()]
    assert (min(lengths), max(lengths)) == (1, 50)


def compare() -> None:
    assert "Every remedy on one corpus" in help_of("remedies")


def package_annealer() -> None:
    linear, cosine = (vae_annealing.Annealer(10, shape=shape) for shape in ("linear", "cosine"))
    times = [min(step / 10, 1) for step in range(15)]
    assert applied(linear, 15) == pytest.approx(times)
    curve = [(1 - math.cos(math.pi * time)) / 2 for time in times]
    assert applied(cosine, 15) == pytest.approx(curve)
    assert vae_annealing.Annealer(10, "logistic")(1.0) < 0.1
    assert vae_annealing.Annealer(10, "linear", disable=True)(3.0) == 3.0


def cyclical_usage() -> None:
    agent = vae_annealing.Annealer(10, shape="cosine", cyclical=True)
    values = applied(agent, 31)
    agent.set_cyclical(False)
    values += applied(agent, 40)
    agent.set_cyclical(True)
    values += applied(agent, 29)
    assert values[:40:10] == [0, 0, 0, 0]
    assert values[41:71] == [1.0] * 30
    assert min(values[72:]) < 0.1


def figures(capsys: pytest.CaptureFixture[str]) -> None:
    for figure in ("shapes", "cyclical", "switching", "example"):
        assert cli.main(["schedules", "--figure", figure]) == 0
        assert "linear" in capsys.readouterr().out or figure != "shapes"


def defaults() -> None:
    for optimizer in ("adam", "adamw"):
        TrainingConfig(optimizer=optimizer, weight_decay=1e-5)
    config = TrainingConfig()
    assert (config.optimizer, config.lr, config.clip_norm) == ("adam", 1e-3, 5.0)
    assert 0 <= config.weight_decay <= 1e-5


def plain_loop() -> None:
    for words in ("plain PyTorch loop", "halved on plateaus"):
        assert words in help_of("anneal_your_own_loop")


def gradient_norm() -> tuple[float, float]:
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).square().sum().backward()
    squares = [p.grad.norm(2).item() ** 2 for p in layer.parameters()]  # type: ignore[union-attr]
    return float(diagnostics.gradient_norm(layer)), sum(squares) ** 0.5


def course_experiments() -> None:
    experiments = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))["EXPERIMENTS"]
    assert set(experiments) <= set(re.findall(r"[\w-]+", help_of("experiments")))
    assert experiments["beta"].values == (0.1, 1, 4, 10)
    assert experiments["learning-rates"].values == (1e-2, 1e-3, 1e-4, 1e-5)
    options = experiments["optimizers"].configurations.values()
    assert [o.get("optimizer", "adam") for o in options] == ["adam", "adamw", "adamw", "sgd"]


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
}
"""What ours gives, and the text's formula or code."""

TESTS: dict[str, Callable[..., None]] = {
    "KL Annealing: train_with_annealing": train_with_annealing,
    "KL Annealing: warm-up rules of thumb": warmup_experiment,
    "KL Annealing: Exercise 1, schedules": compare,
    "KL Annealing: Exercise 2, warm-up": warmup_experiment,
    "vae-annealing: Annealer": package_annealer,
    "vae-annealing: cyclical, off at 30, on at 70": cyclical_usage,
    "vae-annealing: figures": figures,
    "VAE Optimization: Adam, AdamW": defaults,
    "VAE Optimization: practical guidelines": defaults,
    "VAE Optimization: train_vae": plain_loop,
    "VAE Optimization: Exercise 1, optimizers": course_experiments,
    "VAE Optimization: Exercise 2, learning rates": course_experiments,
    "VAE Loss Function: cyclical_kl_weight": cyclical_kl_weight,
    "VAE Loss Function: train_epoch": plain_loop,
    "VAE Loss Function: Exercise 1, MSE or BCE": plain_loop,
    "VAE Loss Function: Exercise 2, β": course_experiments,
    "VAE Loss Function: Exercise 3, schedules": compare,
}


def test_every_line_has_a_test_and_every_test_a_line() -> None:
    assert sorted(ROWS) == sorted([*LOSSES, *OF_THE_TEXT, *TESTS])


@pytest.mark.parametrize("row", LOSSES)
def test_losses_are_those_of_the_text(row: str) -> None:
    loss, expected = LOSSES[row]
    assert numbers(loss(RECON, X, MU, LOGVAR)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("row", OF_THE_TEXT)
def test_ours_is_that_of_the_text(row: str) -> None:
    ours, theirs = OF_THE_TEXT[row]()
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-12)


def test_what_the_text_would_take_is_refused() -> None:
    with pytest.raises(ValueError, match="recon_x"):
        losses.bce_reconstruction(RECON + 1, X)
    with pytest.raises(ValueError, match="bce"):
        losses.VAELoss(reconstruction_type="l1")


@pytest.mark.parametrize("row", TESTS)
def test_what_the_line_says(row: str, request: pytest.FixtureRequest) -> None:
    test = TESTS[row]
    wanted: Any = test.__annotations__.keys() - {"return"}
    test(**{name: request.getfixturevalue(name) for name in wanted})


@pytest.mark.parametrize("where", sorted(set(ROWS.values())))
def test_everything_is_where_the_page_says(where: str) -> None:
    if where.startswith("textvae."):
        module, _, name = where.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    elif where.startswith("textvae "):
        assert where.split()[1] in cli.COMMANDS
    else:
        path, *arguments = where.split()
        source = (ROOT / path).read_text(encoding="utf-8")
        assert all(argument.removeprefix("--") in source for argument in arguments)
