"""Every line of `docs/tutorials.md`, held to the formula or the code of the text it names."""

from __future__ import annotations

import functools
import importlib
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from textvae import annealers, cli, diagnostics, losses
from textvae.config import TrainingConfig
from textvae.corpus import load_corpus
from textvae.interop import vae_annealing
from textvae.recipes import start

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+?) \| `([^`]+)` \|", PAGE, flags=re.MULTILINE)
CHAPTERS = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)

torch.manual_seed(0)
X = torch.bernoulli(torch.rand(4, 6))
RECON = torch.rand(4, 6) * 0.9 + 0.05
MU, LOGVAR = torch.randn(4, 3), torch.randn(4, 3)
BCE = float(-(X * RECON.log() + (1 - X) * (1 - RECON).log()).sum())
KL = float(-0.5 * torch.sum(1 + LOGVAR - MU.pow(2) - LOGVAR.exp()))

near = pytest.approx


def rows_of(chapter: str) -> list[str]:
    text = PAGE.split(f"## {chapter}\n")[1].split("\n## ")[0]
    return [
        f"{chapter}: {name}" for name, _ in re.findall(r"^\| ([^|]+?) \| `([^`]+)`", text, re.M)
    ]


@functools.cache
def help_of(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return " ".join(done.stdout.split())


def annealed_objective() -> None:
    terms = losses.elbo_terms(torch.full((4,), 5.0), MU, LOGVAR)
    beta = annealers.LinearAnnealer(10)
    beta.step()
    assert float(terms.rec + beta(terms.kl_objective)) == near(5 + 0.1 * KL / 4, rel=1e-6)


def linear() -> None:
    for step in (0, 3, 9, 10, 50):
        expected = 2.0 * step / 10 if step < 10 else 2.0
        assert annealers.linear_annealing(step, 10, max_beta=2.0) == near(expected, abs=1e-12)


def sigmoid() -> None:
    for step in (0, 3, 50, 100, 140):
        x = (step - 100 / 2) / (100 / 10)
        expected = 1.0 / (1 + math.exp(-x))
        assert annealers.sigmoid_annealing(step, 100, k=10) == near(expected, abs=1e-12)


def cyclical() -> None:
    for step in (0, 1, 2499, 4999, 5000, 9999, 10000, 12500):
        position, rising = step % 10000, int(10000 * 0.5)
        expected = position / rising if position < rising else 1.0
        assert annealers.cyclical_annealing(step) == near(expected, abs=1e-12)
        assert annealers.cyclical_annealing(step, 10000, ratio=0.5) == near(expected, abs=1e-12)


def constant() -> None:
    beta = annealers.ConstantAnnealer()
    assert {beta.value_at(step) for step in (0, 1, 10**6)} == {1.0}


def train_with_annealing(tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("\n".join(f"the {w} cat runs {w}" for w in "abcdefgh" * 5), encoding="utf-8")
    sizes = {"latent_dim": 2, "embedding_dim": 4, "encoder_hidden_size": 4}
    options = {**sizes, "decoder_hidden_size": 4, "batch_size": 6, "max_epochs": 2, "log_every": 1}
    trainer = start(load_corpus(text), {**options, "warmup_epochs": 1.0}, tmp_path / "run")
    trainer.fit()
    betas = [record["beta"] for record in trainer.run.metrics() if record["split"] == "train"]
    batches = len(trainer.train)
    rising = [step / batches for step in range(1, batches + 1)]
    # A line is logged after its step: the weight of the batch to come.
    assert betas[:batches] == near(rising)
    assert set(betas[batches:]) == {1.0}


def warmup_experiment() -> None:
    assert "warmup" in help_of("scripts/experiments.py")
    warmup = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))["warmup"]()
    lengths = [options["warmup_epochs"] for options in warmup.configurations.values()]
    assert (min(lengths), max(lengths)) == (1, 50)


def compare() -> None:
    assert "which schedules keep the KL term from vanishing" in help_of(
        "scripts/compare_annealers.py"
    )


def package_annealer() -> None:
    shapes = {
        "linear": lambda t: t,
        "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
    }
    for shape, curve in shapes.items():
        agent = vae_annealing.Annealer(10, shape=shape)
        for step in range(15):
            assert float(agent(torch.tensor(3.0))) == near(3 * curve(min(step / 10, 1)), abs=1e-6)
            agent.step()
    assert vae_annealing.Annealer(10, "logistic")(1.0) < 0.1
    assert vae_annealing.Annealer(10, "linear", disable=True)(3.0) == 3.0


def package_loss() -> None:
    bce, kld = vae_annealing.VAELoss()(RECON, X, MU, LOGVAR)
    assert (float(bce), float(kld)) == (near(BCE, rel=1e-6), near(KL, rel=1e-6))


def basic_usage() -> None:
    agent, values = vae_annealing.Annealer(20, shape="cosine"), []
    for _ in range(100):
        values.append(agent(1.0))
        agent.step()
    assert values[0] == 0
    assert values[20:] == [1.0] * 80


def cyclical_usage() -> None:
    agent, values = vae_annealing.Annealer(10, shape="cosine", cyclical=True), []
    for epoch in range(100):
        values.append(agent(1.0))
        agent.step()
        if epoch == 30:
            agent.set_cyclical(False)
        if epoch == 70:
            agent.set_cyclical(True)
    assert [values[epoch] for epoch in (0, 10, 20, 30)] == [0, 0, 0, 0]
    assert values[41:71] == [1.0] * 30
    assert min(values[72:]) < 0.1


def figures(capsys: pytest.CaptureFixture[str]) -> None:
    for figure in ("shapes", "cyclical", "switching", "example"):
        assert cli.main(["schedules", "--figure", figure]) == 0
        assert "linear" in capsys.readouterr().out or figure != "shapes"


def optimizers_known() -> None:
    for optimizer in ("adam", "adamw"):
        config = TrainingConfig(optimizer=optimizer, lr=1e-3, weight_decay=1e-5)
        assert config.optimizer == optimizer


def guidelines() -> None:
    config = TrainingConfig()
    assert 1e-4 <= config.lr <= 1e-3
    assert 1.0 <= config.clip_norm <= 5.0
    assert 0 <= config.weight_decay <= 1e-5


def plain_loop() -> None:
    text = help_of("scripts/anneal_your_own_loop.py")
    assert "plain PyTorch loop" in text
    assert "halved on plateaus" in text


def reductions() -> None:
    total, mean = (
        losses.vae_loss(RECON, X, MU, LOGVAR, reduction=kind) for kind in ("sum", "mean")
    )
    assert [float(term) for term in total] == near([BCE + KL, BCE, KL], rel=1e-6)
    assert [float(term) for term in mean] == near([(BCE + KL) / 4, BCE / 4, KL / 4], rel=1e-6)


def per_dimension() -> None:
    recon, kl = losses.nats_per_dimension(
        torch.tensor(78.4), torch.tensor(6.4), data_dim=784, latent_dim=32
    )
    assert (float(recon), float(kl)) == (near(0.1), near(0.2))


def monitoring() -> None:
    per_dim = [0.5, 0.02, 0.005, 0.0]
    assert diagnostics.active_dimensions(per_dim, threshold=0.01) == 2


def gradient_norm() -> None:
    layer = nn.Linear(3, 2)
    layer(torch.ones(1, 3)).square().sum().backward()
    expected = sum(p.grad.data.norm(2).item() ** 2 for p in layer.parameters()) ** 0.5  # type: ignore[union-attr]
    assert float(diagnostics.gradient_norm(layer)) == near(expected, rel=1e-6)


def course_experiments() -> None:
    experiments = runpy.run_path(str(ROOT / "scripts" / "experiments.py"))["EXPERIMENTS"]
    assert set(experiments) <= set(re.findall(r"[\w-]+", help_of("scripts/experiments.py")))
    assert experiments["beta"]().values == [0.1, 1, 4, 10]
    assert experiments["learning-rates"]().values == [1e-2, 1e-3, 1e-4, 1e-5]
    kinds = [
        o.get("optimizer", "adam") for o in experiments["optimizers"]().configurations.values()
    ]
    assert kinds == ["adam", "adamw", "adamw", "sgd"]


def bce() -> None:
    expected = F.binary_cross_entropy(RECON, X, reduction="sum")
    assert float(losses.bce_reconstruction(RECON, X)) == near(float(expected), rel=1e-6)


def mse() -> None:
    expected = F.mse_loss(RECON, X, reduction="sum")
    assert float(losses.mse_reconstruction(RECON, X)) == near(float(expected), rel=1e-6)


def kl() -> None:
    assert float(losses.kl_divergence(MU, LOGVAR)) == near(KL, rel=1e-6)


def beta_vae() -> None:
    total, recon, kl = losses.beta_vae_loss(RECON, X, MU, LOGVAR)
    assert [float(v) for v in (total, recon, kl)] == near([BCE + 4 * KL, BCE, KL], rel=1e-6)


def kl_weight() -> None:
    weights = [annealers.linear_annealing(epoch, 10) for epoch in (0, 5, 10, 20)]
    assert weights == [0, 0.5, 1, 1]


def free_bits() -> None:
    per_dim = -0.5 * (1 + LOGVAR - MU.pow(2) - LOGVAR.exp())
    floored = float(torch.clamp(per_dim, min=0.1).sum())
    total, recon, kl = losses.vae_loss_free_bits(RECON, X, MU, LOGVAR, free_bits=0.1)
    assert (float(total), float(recon)) == (near(BCE + floored, rel=1e-6), near(BCE, rel=1e-6))
    assert float(kl) == near(KL, rel=1e-6)


def loss_class() -> None:
    loss_fn = losses.VAELoss(reconstruction_type="bce", beta=4.0, free_bits=0.1)
    total, recon, kl = loss_fn(RECON, X, MU, LOGVAR)
    per_dim = -0.5 * (1 + LOGVAR - MU.pow(2) - LOGVAR.exp())
    floored = float(torch.clamp(per_dim, min=0.1).sum())
    assert [float(v) for v in (total, recon, kl)] == near([BCE + 4 * floored, BCE, KL], rel=1e-6)
    with pytest.raises(ValueError, match="bce"):
        losses.VAELoss(reconstruction_type="l1")


TESTS: dict[str, Callable[..., None]] = {
    "KL Annealing: annealed objective": annealed_objective,
    "KL Annealing: linear_annealing": linear,
    "KL Annealing: sigmoid_annealing": sigmoid,
    "KL Annealing: cyclical_annealing": cyclical,
    "KL Annealing: no annealing, β = 1": constant,
    "KL Annealing: train_with_annealing": train_with_annealing,
    "KL Annealing: warm-up rules of thumb": warmup_experiment,
    "KL Annealing: Exercise 1, schedules": compare,
    "KL Annealing: Exercise 2, warm-up": warmup_experiment,
    "vae-annealing: Annealer": package_annealer,
    "vae-annealing: VAELoss": package_loss,
    "vae-annealing: basic annealing": basic_usage,
    "vae-annealing: cyclical, off at 30, on at 70": cyclical_usage,
    "vae-annealing: figures": figures,
    "VAE Optimization: Adam, AdamW": optimizers_known,
    "VAE Optimization: practical guidelines": guidelines,
    "VAE Optimization: train_vae": plain_loop,
    "VAE Optimization: sum and mean": reductions,
    "VAE Optimization: per-dimension normalisation": per_dimension,
    "VAE Optimization: monitoring": monitoring,
    "VAE Optimization: compute_gradient_norm": gradient_norm,
    "VAE Optimization: Exercise 1, optimizers": course_experiments,
    "VAE Optimization: Exercise 2, learning rates": course_experiments,
    "VAE Loss Function: bce_reconstruction": bce,
    "VAE Loss Function: mse_reconstruction": mse,
    "VAE Loss Function: kl_divergence": kl,
    "VAE Loss Function: vae_loss": reductions,
    "VAE Loss Function: beta_vae_loss": beta_vae,
    "VAE Loss Function: get_kl_weight": kl_weight,
    "VAE Loss Function: cyclical_kl_weight": cyclical,
    "VAE Loss Function: vae_loss_free_bits": free_bits,
    "VAE Loss Function: VAELoss": loss_class,
    "VAE Loss Function: train_epoch": plain_loop,
    "VAE Loss Function: Exercise 1, MSE or BCE": plain_loop,
    "VAE Loss Function: Exercise 2, β": course_experiments,
    "VAE Loss Function: Exercise 3, schedules": compare,
}


def test_every_line_has_a_test_and_every_test_a_line() -> None:
    assert [row for chapter in CHAPTERS for row in rows_of(chapter)] == list(TESTS)


@pytest.mark.parametrize("row", TESTS)
def test_what_the_line_says(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = TESTS[row]
    fixtures = {"tmp_path": tmp_path, "capsys": capsys}
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(**{name: fixtures[name] for name in wanted})


@pytest.mark.parametrize("where", sorted({where for _, where in ROWS}))
def test_everything_is_where_the_page_says(where: str) -> None:
    if where.startswith("textvae."):
        module, _, name = where.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    elif where.startswith("textvae "):
        assert where.split()[1] in cli.COMMANDS
    else:
        path, *arguments = where.split()
        assert (ROOT / path).is_file()
        source = (ROOT / path).read_text(encoding="utf-8")
        assert all(argument.removeprefix("--") in source for argument in arguments)
