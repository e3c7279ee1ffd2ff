"""An annealer in the Trainer of Hugging Face: a callback that steps it and logs its weight.

`compute_loss` returns `rec + annealer(kl)` if `model.training`, else `rec + kl`: an annealed loss
is lowest where the model is no VAE.
"""

from __future__ import annotations

from typing import Any

from textvae.annealers import KLAnnealer
from textvae.checks import NotInstalledError

try:
    from transformers import TrainerCallback, TrainerState
except ImportError as error:
    raise NotInstalledError(
        'textvae.interop.transformers needs transformers: pip install "textvae[interop]"'
    ) from error


class KLAnnealingCallback(TrainerCallback):
    """Steps an annealer once for every optimizer step, and adds its weight to the training logs.

    Checkpoints hold nothing of it: when training begins, the annealer goes back to where it was
    when the callback was made, and takes as many steps as training had (`global_step`). That is
    right for every annealer whose weight follows from the number of steps alone, as ours do unless
    their cycles are switched during training. Without `state_dict` and `load_state_dict`, an
    annealer can't go back: give each call of `train` a new one.

    The weight gets into `trainer.state.log_history` and what is printed. TensorBoard and its like
    are called before a user's callbacks; to let them see it, move this one to the front:
    `trainer.callback_handler.callbacks.insert(0, trainer.pop_callback(KLAnnealingCallback))`.

    Args:
        annealer: The object that `compute_loss` calls on its KL. Where it has `value`, that is
            logged: the weight of the last batch before the log.
        name: Under which it is logged.
    """

    def __init__(self, annealer: KLAnnealer, name: str = "beta") -> None:
        self.annealer = annealer
        self.name = name
        self._start: dict[str, Any] = getattr(annealer, "state_dict", dict)()
        self._beta: float | None = None

    def on_train_begin(self, args: object, state: TrainerState, *more: Any, **unused: Any) -> None:
        """Bring the annealer to the step at which training starts or goes on."""
        if hasattr(self.annealer, "load_state_dict"):
            self.annealer.load_state_dict(self._start)
        for _ in range(state.global_step):
            self.annealer.step()

    def on_step_end(self, *more: Any, **unused: Any) -> None:
        """Remember the weight that this step had, and step the annealer."""
        self._beta = getattr(self.annealer, "value", None)
        self.annealer.step()

    def on_log(
        self, args: object, state: TrainerState, control: object, logs: Any = None, **unused: Any
    ) -> None:
        """Add the weight to a log of training, not to one of evaluation."""
        if logs is not None and "loss" in logs and self._beta is not None:
            logs[self.name] = self._beta
            # The Trainer has put a copy there already.
            state.log_history[-1][self.name] = self._beta
