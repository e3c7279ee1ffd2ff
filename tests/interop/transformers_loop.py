"""The Trainer of Hugging Face, which notes every weight that it sees."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from textvae.annealers import KLAnnealer
from textvae.interop.transformers import KLAnnealingCallback

__all__ = ["KLAnnealingCallback", "TrainerCallback", "VAETrainer", "train"]

DATA = [{"x": torch.ones(2)}] * 8


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"rec": self.layer(x).square().sum(), "kl": torch.ones(())}


class VAETrainer(Trainer):
    """Two epochs of eight batches, with a checkpoint after step 5."""

    def __init__(self, annealer: KLAnnealer, directory: Path, **options: Any) -> None:
        given = {"output_dir": str(directory), "report_to": "none", "disable_tqdm": True}
        given |= {"use_cpu": True, "dataloader_pin_memory": False}
        given |= {"per_device_train_batch_size": 1, "num_train_epochs": 2, "logging_steps": 1}
        given |= {"save_strategy": "steps", "save_steps": 5}
        given |= {"eval_strategy": "steps", "eval_steps": 4}
        arguments = TrainingArguments(**given | options)
        data = {"train_dataset": DATA, "eval_dataset": DATA[:2]}
        super().__init__(Model(), arguments, **data, callbacks=[KLAnnealingCallback(annealer)])
        self.remove_callback(PrinterCallback)
        self.annealer, self.seen = annealer, list[float]()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, **unused: Any
    ) -> Any:
        outputs = model(**inputs)
        beta_kl = self.annealer(outputs["kl"]) if model.training else outputs["kl"]
        if model.training:
            self.seen.append(float(beta_kl))
        loss = outputs["rec"] + beta_kl
        return (loss, outputs) if return_outputs else loss


def train(annealer: KLAnnealer, directory: Path, accumulate: int = 1, resume: bool = False) -> Any:
    """Train, or go on from the checkpoint: weights seen and logged."""
    trainer = VAETrainer(annealer, directory, gradient_accumulation_steps=accumulate)
    trainer.train(resume_from_checkpoint=str(directory / "checkpoint-5") if resume else None)
    logged = [row["beta"] for row in trainer.state.log_history if "beta" in row]
    return trainer.seen, logged[5 * resume :]
