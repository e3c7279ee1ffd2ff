"""The callback in Lightning's own Trainer: which weight each batch sees, what resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning", reason="needs the extra interop")

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger

from textvae.annealers import Annealer, CyclicalAnnealer, KLAnnealer, LinearAnnealer
from textvae.interop.lightning import KLAnnealingCallback

# Lightning's own: it uses what torch is about to drop, and it would have the tests run faster.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before:UserWarning"),
]

BATCHES = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=1)


class VAE(LightningModule):
    """One parameter, a KL of 1, and a note of every weight seen."""

    def __init__(self, annealer: KLAnnealer) -> None:
        super().__init__()
        self.annealer, self.layer = annealer, nn.Linear(2, 1)
        self.seen: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        self.seen.append(self.annealer(1.0))
        return self.layer(batch[0]).square().sum()

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.layer(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class TwoOptimizers(VAE):
    """Steps two optimizers by hand, each of which counts for Lightning."""

    def __init__(self, annealer: KLAnnealer) -> None:
        super().__init__(annealer)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], index: int) -> None:
        loss = super().training_step(batch, index)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.01) for _ in range(2)]


class Memory(Logger):
    """Keeps what Lightning logs."""

    name, version = "memory", 0

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append(metrics)

    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        pass


def fit(
    model: VAE, *callbacks: Callback, path: str | None = None, **options: Any
) -> tuple[Trainer, list[float]]:
    """Train for one epoch, or as the options say; return the weights that the batches saw."""
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "accelerator": "cpu",
        "max_epochs": 3 if "max_steps" in options else 1,
    }
    trainer = Trainer(**{**quiet, **options}, callbacks=list(callbacks))
    trainer.fit(model, BATCHES, BATCHES, ckpt_path=path)
    return trainer, model.seen


def test_every_batch_sees_the_weight_of_its_step() -> None:
    annealer = LinearAnnealer(6)
    _, seen = fit(VAE(annealer), KLAnnealingCallback(annealer))
    assert seen == [annealer.value_at(step) for step in range(8)]
    assert annealer.current_step == 8  # the last step is not forgotten, validation not counted


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        (2, [0, 0, 1, 1, 2, 2, 3, 3]),  # whole groups
        (3, [0, 0, 0, 1, 1, 1, 2, 2]),  # the epoch's end cuts the last group short, and steps
    ],
)
def test_accumulated_gradients_count_once(batches: int, steps: list[int]) -> None:
    annealer = LinearAnnealer(10)
    _, seen = fit(VAE(annealer), KLAnnealingCallback(annealer), accumulate_grad_batches=batches)
    assert seen == [annealer.value_at(step) for step in steps]
    assert annealer.current_step == steps[-1] + 1


def test_a_batch_with_two_optimizers_counts_once() -> None:
    annealer = LinearAnnealer(10)
    trainer, seen = fit(TwoOptimizers(annealer), KLAnnealingCallback(annealer))
    assert trainer.global_step == 16
    assert seen == [annealer.value_at(step) for step in range(8)]


def test_the_weight_of_each_batch_is_logged() -> None:
    annealer, memory = CyclicalAnnealer(4), Memory()
    callback = KLAnnealingCallback(annealer, name="kl_weight")
    _, seen = fit(VAE(annealer), callback, logger=memory, log_every_n_steps=1)
    assert [row["kl_weight"] for row in memory.logged if "kl_weight" in row] == seen


def test_training_resumes_with_the_schedule(tmp_path: Path) -> None:
    def saving() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=5)

    first = LinearAnnealer(10)
    fit(VAE(first), KLAnnealingCallback(first), saving())
    resumed, path = LinearAnnealer(10), str(tmp_path / "step=5.ckpt")
    _, seen = fit(VAE(resumed), KLAnnealingCallback(resumed), saving(), path=path, max_steps=12)
    assert seen == [resumed.value_at(step) for step in range(5, 12)]


def test_state_holds_what_was_switched(tmp_path: Path) -> None:
    first = Annealer(3, cyclical=True)
    first.set_cyclical(False)
    trainer, _ = fit(VAE(first), KLAnnealingCallback(first), max_steps=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed = Annealer(3, cyclical=True)
    path = str(tmp_path / "a.ckpt")
    _, seen = fit(VAE(resumed), KLAnnealingCallback(resumed), path=path, max_steps=6)
    assert seen == [2 / 3, 1, 1, 1]


class SaveEarly(Callback):
    """Saves after the optimizer has stepped and before the annealer has."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *unused: Any) -> None:
        if trainer.global_step == 5:
            trainer.save_checkpoint(self.path)


def test_a_checkpoint_from_between_optimizer_and_annealer_resumes_right(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    first = LinearAnnealer(10)
    fit(VAE(first), SaveEarly(path), KLAnnealingCallback(first))
    resumed = LinearAnnealer(10)
    _, seen = fit(VAE(resumed), KLAnnealingCallback(resumed), path=str(path), max_steps=8)
    assert seen == [resumed.value_at(step) for step in range(5, 8)]


def test_a_second_trainer_goes_on_with_the_schedule() -> None:
    annealer = LinearAnnealer(20)
    callback, model = KLAnnealingCallback(annealer), VAE(annealer)
    fit(model, callback)
    _, seen = fit(model, callback)
    assert seen == [annealer.value_at(step) for step in range(16)]


def test_any_annealer_will_do(tmp_path: Path) -> None:
    class Count:
        steps = 0

        def __call__(self, kl: Any) -> Any:
            return kl * self.steps

        def step(self) -> None:
            self.steps += 1

    annealer, path = Count(), tmp_path / "a.ckpt"
    trainer, seen = fit(VAE(annealer), KLAnnealingCallback(annealer), max_steps=3)
    assert seen == [0, 1, 2]
    trainer.save_checkpoint(path)
    _, seen = fit(VAE(annealer), KLAnnealingCallback(annealer), path=str(path), max_steps=5)
    assert seen == [3, 4]  # nothing to restore: it goes on from where the object is


def test_several_callbacks_keep_their_states_apart(tmp_path: Path) -> None:
    annealers = [LinearAnnealer(10), LinearAnnealer(20)]
    annealers[1].step()
    pair = [KLAnnealingCallback(a, n) for a, n in zip(annealers, "ab", strict=True)]
    trainer, _ = fit(VAE(annealers[0]), *pair, max_steps=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    new = [LinearAnnealer(10), LinearAnnealer(20)]
    pair = [KLAnnealingCallback(a, n) for a, n in zip(new, "ab", strict=True)]
    fit(VAE(new[0]), *pair, path=str(tmp_path / "a.ckpt"), max_steps=3)
    assert [annealer.current_step for annealer in new] == [3, 4]
