"""An annealer in PyTorch Lightning: a callback steps it, logs its weight and saves its state."""

from collections.abc import Mapping
from typing import Any

from textvae.annealers import KLAnnealer
from textvae.checks import imported

Callback: Any = imported(
    "lightning.pytorch",
    'textvae.interop.lightning needs PyTorch Lightning: pip install "textvae[interop]"',
).Callback


class KLAnnealingCallback(Callback):
    """Steps an annealer once for every batch that ends in an optimizer step.

    Batches whose gradients are only accumulated don't count, nor does validation. The state goes
    into Lightning's checkpoints and comes back with `trainer.fit(..., ckpt_path=...)`.

    Args:
        annealer: What `training_step` calls on its KL. Where it has `value`, that is logged; where
            it has `state_dict` and `load_state_dict`, it is saved.
        name: Of the weight in the log; each of several callbacks needs its own.
    """

    def __init__(self, annealer: KLAnnealer, name: str = "beta") -> None:
        self.annealer, self.name = annealer, name
        self._global_step: int | None = None  # Lightning's count of steps, when last looked at

    @property
    def state_key(self) -> str:
        """Under which Lightning keeps the state in a checkpoint."""
        return str(self._generate_state_key(name=self.name))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Catch up if it was saved after the optimizer's step, before the annealer's."""
        self._follow(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *more: Any) -> None:
        """Log the weight that this batch has seen, then step if the optimizer has stepped."""
        if (value := getattr(self.annealer, "value", None)) is not None:
            pl_module.log(self.name, value)
        self._follow(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the annealer's state, and the optimizer steps that it has followed."""
        of_annealer: Any = getattr(self.annealer, "state_dict", dict)
        return {"annealer": of_annealer(), "global_step": self._global_step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        if hasattr(self.annealer, "load_state_dict"):
            self.annealer.load_state_dict(state_dict["annealer"])
        self._global_step = state_dict["global_step"]

    def _follow(self, trainer: Any) -> None:
        # Once, however far the count has moved: with several optimizers each of them counts.
        if self._global_step is not None and trainer.global_step > self._global_step:
            self.annealer.step()
        self._global_step = trainer.global_step
