"""`Plateau`: what to do after an evaluation, judged by the true ELBO alone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Plateau", "Verdict"]

Verdict = Literal["better", "wait", "decay", "stop"]


@dataclass
class Plateau:
    """Counts evaluations without a better ELBO.

    Args:
        patience: Evaluations without improvement before the learning rate decays.
        max_decays: Decays after which the learning rate is exhausted and training stops.
        early_stopping: Evaluations since the best one before training stops, decays or not.

    Attributes:
        best: Best ELBO so far, nats per sentence.
        waited: Evaluations since the best one or the last decay.
        stale: Evaluations since the best one.
        decays: Decays so far.
    """

    patience: int
    max_decays: int
    early_stopping: int | None = None
    best: float = -math.inf
    waited: int = 0
    stale: int = 0
    decays: int = 0

    def update(self, elbo: float) -> Verdict:
        """Take in one evaluation.

        Args:
            elbo: True ELBO (β = 1) on validation data, nats per sentence.

        Returns:
            `"better"`: keep these weights. `"wait"`: go on. `"decay"`: return to the best weights
            with a smaller learning rate. `"stop"`: patience or learning rate is exhausted.
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

    def state_dict(self) -> dict[str, Any]:
        """The counters; infinity as None, for JSON has none."""
        state = asdict(self)
        return {**state, "best": None if math.isinf(self.best) else self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved counters."""
        self.best = -math.inf if state["best"] is None else state["best"]
        self.waited, self.stale, self.decays = state["waited"], state["stale"], state["decays"]
