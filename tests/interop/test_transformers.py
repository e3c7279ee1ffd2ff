"""The callback in the Trainer of Hugging Face: which weight each batch sees, what resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="needs the extra interop")

from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers import TrainingArguments as Arguments

from textvae.annealers import CyclicalAnnealer, KLAnnealer, LinearAnnealer
from textvae.interop.transformers import KLAnnealingCallback

DATA = [{"x": torch.ones(2)}] * 8


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rec = self.layer(x).square().sum()
        return {"rec": rec, "kl": torch.ones(())}


class VAETrainer(Trainer):
    """Notes every weight seen."""

    annealer: KLAnnealer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, **unused: Any
    ) -> Any:
        outputs = model(**inputs)
        beta_kl = self.annealer(outputs["kl"]) if model.training else outputs["kl"]
        if model.training:
            self.seen.append(float(beta_kl))
        loss = outputs["rec"] + beta_kl
        return (loss, outputs) if return_outputs else loss


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., VAETrainer]:
    def make(annealer: KLAnnealer, *callbacks: TrainerCallback, **options: Any) -> VAETrainer:
        given = {
            "output_dir": str(tmp_path),
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "save_strategy": "no",
            "per_device_train_batch_size": 1,
            "num_train_epochs": 1,
            "logging_steps": 1,
            "dataloader_pin_memory": False,
        }
        trainer = VAETrainer(
            Model(),
            Arguments(**{**given, **options}),
            train_dataset=DATA,
            eval_dataset=DATA[:2],
            callbacks=[KLAnnealingCallback(annealer), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.annealer, trainer.seen = annealer, []
        return trainer

    return make


def logged(trainer: Trainer) -> list[float]:
    return [row["beta"] for row in trainer.state.log_history if "beta" in row]


def weights(steps: range | list[int], length: int) -> list[float]:
    return pytest.approx([LinearAnnealer(length).value_at(step) for step in steps])


def test_every_batch_sees_the_weight_of_its_step(make_trainer: Callable[..., VAETrainer]) -> None:
    annealer = LinearAnnealer(6)
    trainer = make_trainer(annealer, eval_strategy="steps", eval_steps=2)
    trainer.train()
    assert trainer.seen == weights(range(8), 6)
    assert annealer.current_step == 8  # evaluation is not counted


def test_the_weight_is_in_the_logs_of_training_only(
    make_trainer: Callable[..., VAETrainer],
) -> None:
    trainer = make_trainer(LinearAnnealer(6), eval_strategy="steps", eval_steps=2)
    trainer.train()
    assert logged(trainer) == weights(range(8), 6)
    assert {"beta" in row for row in trainer.state.log_history if "loss" in row} == {True}
    assert {"beta" in row for row in trainer.state.log_history if "loss" not in row} == {False}


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        (2, [0, 0, 1, 1, 2, 2, 3, 3]),  # whole groups
        (3, [0, 0, 0, 1, 1, 1, 2, 2]),  # the epoch's end cuts the last group short, and steps
    ],
)
def test_accumulated_gradients_count_once(
    make_trainer: Callable[..., VAETrainer], batches: int, steps: list[int]
) -> None:
    annealer = LinearAnnealer(10)
    trainer = make_trainer(annealer, gradient_accumulation_steps=batches)
    trainer.train()
    assert trainer.seen == weights(steps, 10)
    assert annealer.current_step == trainer.state.global_step == steps[-1] + 1


def test_training_resumes_with_the_schedule(
    make_trainer: Callable[..., VAETrainer], tmp_path: Path
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 5, "num_train_epochs": 2}
    make_trainer(LinearAnnealer(20), **saving).train()
    trainer = make_trainer(LinearAnnealer(20), **saving)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert trainer.seen == weights(range(5, 16), 20)
    assert logged(trainer) == weights(range(16), 20)


def test_an_annealer_in_use_resumes_at_the_checkpoint(
    make_trainer: Callable[..., VAETrainer], tmp_path: Path
) -> None:
    trainer = make_trainer(LinearAnnealer(20), save_strategy="steps", save_steps=5)
    trainer.train()
    trainer.seen.clear()
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert trainer.seen == weights(range(5, 8), 20)


def test_training_again_begins_again(make_trainer: Callable[..., VAETrainer]) -> None:
    annealer = LinearAnnealer(10)
    annealer.step()
    trainer = make_trainer(annealer)
    trainer.train()
    trainer.train()
    assert trainer.seen == weights([*range(1, 9), *range(1, 9)], 10)


def test_cycles_go_on_after_resuming(
    make_trainer: Callable[..., VAETrainer], tmp_path: Path
) -> None:
    make_trainer(CyclicalAnnealer(4), save_strategy="steps", save_steps=5).train()
    trainer = make_trainer(CyclicalAnnealer(4))
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert trainer.seen == [0.5, 1, 1]


def test_any_annealer_will_do(make_trainer: Callable[..., VAETrainer]) -> None:
    class Count:
        steps = 0

        def __call__(self, kl: Any) -> Any:
            return kl * self.steps

        def step(self) -> None:
            self.steps += 1

    trainer = make_trainer(Count())
    trainer.train()
    assert trainer.seen == list(range(8))
    assert logged(trainer) == []  # it has no `value` to show


class Reporter(TrainerCallback):
    """Stands for TensorBoard: sees what the callbacks before it have left in the logs."""

    def __init__(self) -> None:
        self.beta: list[float | None] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.beta.append(logs.get("beta"))


@pytest.mark.parametrize("moved", [False, True])
def test_reporters_in_front_see_the_weight_once_the_callback_is_moved_there(
    make_trainer: Callable[..., VAETrainer], moved: bool
) -> None:
    trainer = make_trainer(LinearAnnealer(10))
    reporter = Reporter()
    trainer.callback_handler.callbacks.insert(0, reporter)
    if moved:
        callbacks = trainer.callback_handler.callbacks
        callbacks.insert(0, trainer.pop_callback(KLAnnealingCallback))
    trainer.train()
    assert reporter.beta == (weights(range(8), 10) if moved else [None] * 8)
