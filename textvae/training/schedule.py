"""What changes in the course of a training, KL weight and learning rate, and what ends it."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from torch import Tensor

from textvae.annealers import KLAnnealer, build_annealer
from textvae.config import TrainingConfig
from textvae.runtime import ALONE, Processes

Decision = Literal["better", "wait", "decay", "stop"]


class Stateful:
    """Base of objects whose attributes, plain values and tensors, are all of their state."""

    def state_dict(self) -> dict[str, Any]:
        """The attributes."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved ones."""
        vars(self).update(state)


@dataclass
class Plateau(Stateful):
    """What to do after an evaluation, judged by the true ELBO alone."""

    patience: int  # evaluations without improvement before the learning rate decays
    max_decays: int  # after which the learning rate is exhausted and training stops
    early_stopping: int | None = None  # evaluations since the best one before training stops
    threshold: float = 0.0  # share of the best −ELBO that an evaluation must gain to be better
    best: float = -math.inf  # ELBO, nats per sentence
    stale: int = 0  # evaluations since the best one
    decays: int = 0

    def update(self, elbo: float) -> Decision:
        """Take in the true ELBO (β = 1) on validation data.

        `"better"`: keep these weights. `"wait"`: go on. `"decay"`: return to the best weights with
        a smaller learning rate. `"stop"`: patience or learning rate is exhausted.
        """
        if elbo > self.best * (1 - self.threshold):
            self.best, self.stale = elbo, 0
            return "better"
        self.stale += 1
        if self.early_stopping is not None and self.stale >= self.early_stopping:
            return "stop"
        if self.stale % (self.patience + 1) > 0:
            return "wait"
        if self.decays >= self.max_decays:
            return "stop"
        self.decays += 1
        return "decay"


def configured_annealer(config: TrainingConfig, steps_per_epoch: int) -> KLAnnealer:
    """The configured schedule, its epochs turned into steps."""
    same = ("max_beta", "num_cycles", "cycle_ratio", "cycle_shape", "sigmoid_k", "target_rate")
    options = {name: getattr(config, name) for name in (*same, "start_beta")}
    for name in ("warmup", "hold"):
        options[f"{name}_steps"] = round(getattr(config, f"{name}_epochs") * steps_per_epoch)
    return build_annealer(config.annealer, **options)


class KLWeight:
    """An annealer, the weight that it last applied, and whether that has come to rest.

    Asks an annealer for no more than `__call__` and `step`: what it does not tell (`value`,
    `finished`, `state_dict`) is read off the KL values that go in and come out.
    """

    def __init__(self, annealer: KLAnnealer) -> None:
        self.annealer: Any = annealer
        self.value = float(getattr(annealer, "value", math.nan))  # that weighed the last batch
        self._num_steps = 0
        self._range: tuple[float, float] | None = None  # within the epoch
        self._has_rested = False

    def __call__(self, kl: Tensor) -> Tensor:
        """The weighed KL of a batch."""
        weighed: Tensor = self.annealer(kl)
        value = getattr(self.annealer, "value", None)
        # A KL of 0 tells nothing of its weight, as where all of it is masked by free bits.
        if value is None and kl != 0:
            value = (weighed / kl).detach()
        if value is not None:
            self.value = float(value)
            low, high = self._range or (self.value, self.value)
            self._range = min(low, self.value), max(high, self.value)
        return weighed

    def step(self) -> None:
        """Step the annealer, after an optimizer step."""
        self.annealer.step()
        self._num_steps += 1

    def end_epoch(self) -> None:
        """A weight that stayed the same through an epoch, as far as that told it, has rested."""
        if self._range is not None:
            low, high = self._range
            self._has_rested = high - low <= 1e-5 * abs(high)
        self._range = None

    @property
    def finished(self) -> bool:
        """True once annealing has ended."""
        return bool(getattr(self.annealer, "finished", self._has_rested))

    def state_dict(self) -> dict[str, Any]:
        """The annealer's own state, if it has one, and what was seen of its weight so far."""
        own = getattr(self.annealer, "state_dict", lambda: None)()
        return {**vars(self), "annealer": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue; an annealer without a state is stepped to where it was."""
        vars(self).update({**state, "annealer": self.annealer})
        if state["annealer"] is not None:
            self.annealer.load_state_dict(state["annealer"])
        else:
            for _ in range(self._num_steps):
                self.annealer.step()


class SafeInterrupt(KeyboardInterrupt):
    """Ctrl-C, raised between two steps: nothing is half updated."""


@contextmanager
def safe_interrupts(processes: Processes = ALONE) -> Iterator[Callable[[], None]]:
    """Context that notes the first Ctrl-C; the function it gives raises it as a `SafeInterrupt`.

    A second acts at once. Of several processes, which must call the function equally often, any
    one's Ctrl-C stops all at the same call, and so does SIGTERM, which a launcher sends to those
    left when one has ended. None is interrupted before: the launcher ends those that take too long.
    """
    noted: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        noted.append(signum)
        if processes.world == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check() -> None:
        if processes.any(bool(noted)):
            raise SafeInterrupt

    previous = {}
    if threading.current_thread() is threading.main_thread():  # no other may take signals
        for each in (signal.SIGINT, signal.SIGTERM)[: processes.world]:
            previous[each] = signal.signal(each, note)
    try:
        yield check
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
