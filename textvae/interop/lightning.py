"""An annealer in PyTorch Lightning: a callback that steps it, logs its weight and saves its state.

Needs the extra `textvae[interop]`. The module weighs its KL with the annealer that the callback
steps; that is all the two share:

    class VAE(LightningModule):
        def __init__(self, annealer):
            super().__init__()
            self.annealer = annealer
            ...

        def training_step(self, batch, index):
            rec, kl = self(batch)
            return rec + self.annealer(kl)

    annealer = LinearAnnealer(warmup_steps=2000)
    trainer = Trainer(callbacks=[KLAnnealingCallback(annealer)])
    trainer.fit(VAE(annealer), batches)

Validate on `rec + kl`: an annealed validation loss is lowest where the model is no VAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textvae.annealers import KLAnnealer

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        'textvae.interop.lightning needs PyTorch Lightning: pip install "textvae[interop]"'
    ) from error

__all__ = ["KLAnnealingCallback"]


class KLAnnealingCallback(Callback):
    """Steps an annealer once for every batch that ends in an optimizer step.

    Batches whose gradients are only accumulated don't count, nor does validation. The state goes
    into Lightning's checkpoints and comes back with `trainer.fit(..., ckpt_path=...)`.

    Args:
        annealer: The object that the module's `training_step` calls on its KL. Where it has
            `value`, that is logged; where it has `state_dict` and `load_state_dict`, it is saved.
        name: Under which the weight of each batch is logged; unlike for each of several callbacks.
    """

    def __init__(self, annealer: KLAnnealer, name: str = "beta") -> None:
        self.annealer = annealer
        self.name = name
        self._global_step: int | None = None  # Lightning's count of steps, when last looked at

    @property
    def state_key(self) -> str:
        """Under which Lightning keeps the state in a checkpoint."""
        return str(self._generate_state_key(name=self.name))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Catch up, should the checkpoint have been written between optimizer and annealer."""
        self._follow(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the weight that this batch will see."""
        value = getattr(self.annealer, "value", None)
        if value is not None:
            pl_module.log(self.name, value)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Step the annealer if the optimizer has stepped."""
        self._follow(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the annealer's state, and the optimizer steps that it has followed."""
        state: dict[str, Any] = getattr(self.annealer, "state_dict", dict)()
        return {"annealer": state, "global_step": self._global_step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        if hasattr(self.annealer, "load_state_dict"):
            self.annealer.load_state_dict(state_dict["annealer"])
        self._global_step = state_dict["global_step"]

    def _follow(self, trainer: Trainer) -> None:
        # Once, however far the count has moved: with several optimizers each of them counts.
        if self._global_step is not None and trainer.global_step > self._global_step:
            self.annealer.step()
        self._global_step = trainer.global_step
