"""An annealer in the Trainer of Hugging Face: a callback that steps it and logs its weight."""

from typing import Any

from textvae.annealers import FeedbackAnnealer, KLAnnealer
from textvae.checks import InputError, imported

TrainerCallback: Any = imported(
    "transformers",
    'textvae.interop.transformers needs transformers: pip install "textvae[interop]"',
).TrainerCallback


class KLAnnealingCallback(TrainerCallback):
    """Steps an annealer once for every optimizer step, and adds its weight to the training logs.

    Checkpoints hold nothing of it: when training begins, the annealer goes back to where it was
    when the callback was made, and takes as many steps as training had (`global_step`): right for
    every weight that follows from the number of steps alone, as all schedules' do unless their
    cycles are switched. A controller, which follows the KL, can't be resumed: an InputError says
    so. One without `state_dict` and `load_state_dict` can't go back: make a new one to train.

    The weight gets into `trainer.state.log_history` and what is printed. TensorBoard and its like
    are called before a user's callbacks; to let them see it, move this one to the front:
    `trainer.callback_handler.callbacks.insert(0, trainer.pop_callback(KLAnnealingCallback))`.

    Args:
        annealer: What `compute_loss` calls on its KL. Where it has `value`, that is logged.
        name: Of the weight in the log, that of the last batch before it.
    """

    def __init__(self, annealer: KLAnnealer, name: str = "beta") -> None:
        self.annealer, self.name = annealer, name
        self._start: dict[str, Any] = getattr(annealer, "state_dict", dict)()
        self._beta: float | None = None

    def on_train_begin(self, args: Any, state: Any, *more: Any, **unused: Any) -> None:
        """Bring the annealer to the step at which training starts or goes on."""
        if state.global_step > 0 and isinstance(self.annealer, FeedbackAnnealer):
            got = f"got {type(self.annealer).__name__}; take a schedule"
            raise InputError(
                f"a controller can't be resumed: checkpoints hold nothing of it, {got}"
            )
        if hasattr(self.annealer, "load_state_dict"):
            self.annealer.load_state_dict(self._start)
        for _ in range(state.global_step):
            self.annealer.step()

    def on_step_end(self, *more: Any, **unused: Any) -> None:
        """Remember the weight that this step had, and step the annealer."""
        self._beta = getattr(self.annealer, "value", None)
        self.annealer.step()

    def on_log(self, args: Any, state: Any, *more: Any, logs: Any = None, **unused: Any) -> None:
        """Add the weight to a log of training, not to one of evaluation."""
        if logs is not None and "loss" in logs and self._beta is not None:
            # The Trainer has put a copy into its history already.
            logs[self.name] = state.log_history[-1][self.name] = self._beta
