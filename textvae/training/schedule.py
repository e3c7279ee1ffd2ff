"""What changes in the course of a training: KL weight, learning rate, and when it ends."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textvae.annealers import KLAnnealer, build_annealer
from textvae.config import TrainingConfig

Decision = Literal["better", "wait", "decay", "stop"]


def configured_annealer(config: TrainingConfig, steps_per_epoch: int) -> KLAnnealer:
    """The configured schedule, its epochs turned into steps."""
    return build_annealer(
        config.annealer,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        max_beta=config.max_beta,
        num_cycles=config.num_cycles,
        cycle_ratio=config.cycle_ratio,
    )


def configured_optimizer(
    config: TrainingConfig, model: nn.Module, device: torch.device, lr: float
) -> torch.optim.Optimizer:
    """The configured optimizer of a model's parameters, at some learning rate."""
    parameters, decay = model.parameters(), config.weight_decay
    # One fused kernel over all parameters: ten times faster than the default on a CPU.
    fused = device.type in ("cpu", "cuda")
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, momentum=config.momentum, weight_decay=decay, fused=fused
        )
    adam = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, lr=lr, weight_decay=decay, fused=fused)


class Counters:
    """Base of dataclasses whose fields are all of their state, plain values."""

    def state_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved fields."""
        for name, value in state.items():
            setattr(self, name, value)


@dataclass
class Plateau(Counters):
    """What to do after an evaluation, judged by the true ELBO alone."""

    patience: int  # evaluations without improvement before the learning rate decays
    max_decays: int  # after which the learning rate is exhausted and training stops
    early_stopping: int | None = None  # evaluations since the best one before training stops
    best: float = -math.inf  # ELBO, nats per sentence
    waited: int = 0  # evaluations since the best one or the last decay
    stale: int = 0  # evaluations since the best one
    decays: int = 0

    def update(self, elbo: float) -> Decision:
        """Take in the true ELBO (β = 1) on validation data.

        `"better"`: keep these weights. `"wait"`: go on. `"decay"`: return to the best weights with
        a smaller learning rate. `"stop"`: patience or learning rate is exhausted.
        """
        if elbo > self.best:
            self.best, self.waited, self.stale = elbo, 0, 0
            return "better"
        self.waited += 1
        self.stale += 1
        if self.early_stopping is not None and self.stale >= self.early_stopping:
            return "stop"
        if self.waited <= self.patience:
            return "wait"
        if self.decays >= self.max_decays:
            return "stop"
        self.decays += 1
        self.waited = 0
        return "decay"


class KLWeight:
    """An annealer, the weight that it last applied, and whether that has come to rest.

    Asks an annealer for no more than `__call__` and `step`: what it does not tell (`value`,
    `finished`, `state_dict`) is read off the KL values that go in and come out.
    """

    def __init__(self, annealer: KLAnnealer) -> None:
        self.annealer: Any = annealer
        self._num_steps = 0
        self._applied: Tensor | float = getattr(annealer, "value", math.nan)
        self._range: tuple[Tensor, Tensor] | None = None  # within the epoch
        self._has_rested = False

    def __call__(self, kl: Tensor) -> Tensor:
        """The weighed KL of a batch. Reads nothing back from an accelerator."""
        weighed: Tensor = self.annealer(kl)
        if hasattr(self.annealer, "value"):
            self._applied = float(self.annealer.value)
        if not (hasattr(self.annealer, "value") and hasattr(self.annealer, "finished")):
            # A KL of 0 tells nothing of its weight, as where all of it is masked by free bits.
            weight = torch.where(kl == 0, torch.nan, weighed / kl).detach()
            low, high = self._range or (weight, weight)
            self._range = (torch.fmin(low, weight), torch.fmax(high, weight))
            if not hasattr(self.annealer, "value"):
                self._applied = torch.where(kl == 0, self._applied, weight)
        return weighed

    def step(self) -> None:
        """Step the annealer, after an optimizer step."""
        self.annealer.step()
        self._num_steps += 1

    def end_epoch(self) -> None:
        """A weight that stayed the same through an epoch, as far as that told it, has rested."""
        if self._range is not None:
            low, high = (float(bound) for bound in self._range)
            if not math.isnan(low):
                self._has_rested = high - low <= 1e-5 * abs(high)
        self._range = None

    @property
    def value(self) -> float:
        """The weight that the last batch was weighed with."""
        return float(self._applied)

    @property
    def finished(self) -> bool:
        """True once annealing has ended."""
        return bool(getattr(self.annealer, "finished", self._has_rested))

    def state_dict(self) -> dict[str, Any]:
        """The annealer's own state, if it has one, and what was seen of its weight so far."""
        return {
            "annealer": getattr(self.annealer, "state_dict", lambda: None)(),
            "num_steps": self._num_steps,
            "applied": self._applied,
            "range": self._range,
            "has_rested": self._has_rested,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue; an annealer without a state is stepped to where it was."""
        self._num_steps, self._applied = state["num_steps"], state["applied"]
        self._range = None if state["range"] is None else tuple(state["range"])
        self._has_rested = state["has_rested"]
        if state["annealer"] is not None:
            self.annealer.load_state_dict(state["annealer"])
        else:
            for _ in range(self._num_steps):
                self.annealer.step()
