"""`WeightWatch`: which weight an annealer applies, and whether it has come to rest.

Asks an annealer for no more than `__call__` and `step`: what it does not tell is read off the KL
values that go in and come out.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from textvae.annealers import KLAnnealer

__all__ = ["WeightWatch"]


class WeightWatch:
    """Follows one annealer through training.

    Args:
        annealer: Ours or anyone's. Where it offers `value` and `finished`, they are believed.
    """

    def __init__(self, annealer: KLAnnealer) -> None:
        self._annealer: Any = annealer
        self._range: tuple[Tensor, Tensor] | None = None
        self._last: Tensor | None = None
        self.rested = False

    def observe(self, kl: Tensor, weighed: Tensor) -> None:
        """Note one batch's KL before and after the annealer, scalars. Reads nothing back."""
        if hasattr(self._annealer, "value") and hasattr(self._annealer, "finished"):
            return
        # A KL of 0 tells nothing of its weight, as where all of it is masked by free bits.
        weight = torch.where(kl == 0, torch.nan, weighed / kl).detach()
        last = weight if self._last is None else self._last
        self._last = torch.where(kl == 0, last, weight)
        low, high = self._range or (weight, weight)
        self._range = (torch.fmin(low, weight), torch.fmax(high, weight))

    def end_epoch(self) -> None:
        """Close an epoch: a weight that stayed the same throughout has come to rest.

        An epoch that tells nothing of the weight leaves it as it was.
        """
        if self._range is not None:
            low, high = (float(bound) for bound in self._range)
            if not math.isnan(low):
                self.rested = high - low <= 1e-5 * abs(high)
        self._range = None

    def state_dict(self) -> dict[str, Any]:
        """What was seen of the weight so far, also within an epoch that is not over."""
        return {"rested": self.rested, "last": self._last, "range": self._range}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what was seen."""
        self.rested, self._last = state["rested"], state["last"]
        self._range = None if state["range"] is None else tuple(state["range"])

    @property
    def value(self) -> float:
        """The weight, as the annealer tells it or as it was last applied."""
        if hasattr(self._annealer, "value"):
            return float(self._annealer.value)
        return float("nan") if self._last is None else float(self._last)

    @property
    def finished(self) -> bool:
        """True once annealing has ended."""
        return bool(getattr(self._annealer, "finished", self.rested))
