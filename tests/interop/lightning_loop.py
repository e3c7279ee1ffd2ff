"""Lightning's own Trainer, and a module that notes every weight that it sees."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from textvae.annealers import KLAnnealer
from textvae.interop.lightning import KLAnnealingCallback

BATCHES = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=1)


class VAE(LightningModule):
    """One layer and a KL of 1; with several optimizers it steps them by hand."""

    def __init__(self, annealer: KLAnnealer, optimizers: int = 1) -> None:
        super().__init__()
        self.annealer, self.layer, self.count = annealer, nn.Linear(2, 1), optimizers
        self.automatic_optimization = optimizers == 1
        self.seen: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        self.seen.append(self.annealer(1.0))
        loss = self.layer(batch[0]).square().sum()
        if not self.automatic_optimization:
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.layer(batch[0])

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.01) for _ in range(self.count)]


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


def fit(model: VAE, *callbacks: Callback, path: Path | None = None, **options: Any) -> Trainer:
    """Train for one epoch of eight batches, or for `max_steps`."""
    given = {"accelerator": "cpu", "max_epochs": 3 if "max_steps" in options else 1}
    given |= {"logger": Memory(), "log_every_n_steps": 1}
    given |= {"enable_progress_bar": False, "enable_model_summary": False}
    given["enable_checkpointing"] = any(isinstance(each, ModelCheckpoint) for each in callbacks)
    trainer = Trainer(**given | options, callbacks=list(callbacks))
    trainer.fit(model, BATCHES, BATCHES, ckpt_path=path)
    return trainer


def train(annealer: KLAnnealer, directory: Path, accumulate: int = 1, resume: bool = False) -> Any:
    """Two epochs with a checkpoint after step 5, or go on from it: weights seen and logged."""
    all_of_them = {"save_top_k": -1, "every_n_train_steps": 5, "save_last": False}
    saving = ModelCheckpoint(directory, filename="{step}", **all_of_them)
    model, path = VAE(annealer), directory / "step=5.ckpt" if resume else None
    options = {"accumulate_grad_batches": accumulate, "max_epochs": 2, "path": path}
    trainer = fit(model, saving, KLAnnealingCallback(annealer), **options)
    return model.seen, [row["beta"] for row in trainer.logger.logged if "beta" in row]
