"""Drop-in for https://github.com/hubertrybka/vae-annealing: `Annealer` and `VAELoss`.

Both do what the package's documentation says, also where its code does not: it hands the arguments
of the cross-entropy over in the wrong order, and its logistic overflows.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textvae.annealers import CURVES, ScheduledAnnealer, linear_annealing, logistic
from textvae.checks import InputError, integer, number, one_of, switch
from textvae.losses import kl_divergence


@dataclass(eq=False, repr=False)
class Annealer(ScheduledAnnealer):
    """The package's annealer, with its own rules.

    The counter stops at `total_steps`. In cyclical mode it returns to zero on reaching it, so
    cycles end just short of full weight; `CyclicalAnnealer` reaches and holds it. The logistic has
    the package's slope of one per step, but runs from exactly `baseline` to exactly 1.
    """

    total_steps: int  # steps (or epochs, if stepped once an epoch) to full weight, at least 1
    shape: str = "linear"  # or cosine or logistic
    baseline: float = 0.0  # the lowest weight, in [0, 1]; the highest is 1
    cyclical: bool = False  # whether to start again when `total_steps` is reached
    disable: bool = False  # whether calls return their argument unchanged

    def __post_init__(self) -> None:
        self.total_steps = integer("total_steps", self.total_steps, 1)
        one_of("shape", self.shape, ("linear", "cosine", "logistic"))
        self.baseline = number("baseline", self.baseline, "[0, 1]")
        switch("cyclical", self.cyclical)
        switch("disable", self.disable)

    def value_at(self, step: int) -> float:
        """Return the weight after `step` steps from new, were `cyclical` always as it is now."""
        step = integer("step", step, 0)
        return self._weight(step % self.total_steps if self.cyclical else step)

    @property
    def _settled_from(self) -> float:  # type: ignore[override]
        return 0 if self.disable else math.inf if self.cyclical else self.total_steps

    def __call__(self, kl: Any) -> Any:
        """Return `kl * value`, or if disabled, `kl` itself."""
        return kl if self.disable else super().__call__(kl)

    def step(self) -> None:
        """Count up to `total_steps`; on reaching it in cyclical mode, start again from 0."""
        self.current_step = min(self.current_step + 1, self.total_steps)
        if self.cyclical and self.current_step == self.total_steps:
            self.current_step = 0

    def set_cyclical(self, value: bool) -> None:
        """Switch cyclical mode on or off, from the next step on."""
        self.cyclical = switch("value", value)

    cyclical_setter = set_cyclical  # The package's documentation has both names.

    def state_dict(self) -> dict[str, Any]:
        """Return the counter and the cyclical switch, which may change during training."""
        return {**super().state_dict(), "cyclical": self.cyclical}

    def _weight(self, step: int) -> float:
        progress = 1.0 if self.disable else linear_annealing(step, self.total_steps)
        steep = partial(logistic, k=self.total_steps)
        curve = steep if self.shape == "logistic" else CURVES[self.shape]
        return self.baseline + (1.0 - self.baseline) * curve(progress)


class VAELoss(nn.Module):
    """Binary cross-entropy and KL of a batch, two scalars whose sum is its negative ELBO.

    Both are summed over everything, the batch included: divide by B for nats per data point.
    """

    def forward(self, x: Tensor, x0: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x0|z) and KL(q(z|x0) ‖ N(0, I)), each a scalar, nats.

        Reconstruction `x`, as after a sigmoid, and data `x0`, of any type, are in [0, 1] and of one
        shape (B, ...); posterior means `mu` and log-variances `logvar` are (B, Z).
        """
        if x.shape != x0.shape or x.shape[:1] != mu.shape[:1]:
            got = ", ".join(str(tuple(tensor.shape)) for tensor in (x, x0, mu))
            raise InputError(f"x and x0 must have the same shape, and mu as many rows, got {got}")
        for name, values in (("x", x), ("x0", x0)):
            inside = (values >= 0) & (values <= 1)  # NaN is not
            if not inside.all():
                raise InputError(f"{name} must be in [0, 1], got {values[~inside][0].item()}")
        bce = F.binary_cross_entropy(x, x0.to(x.dtype), reduction="sum")
        return bce, kl_divergence(mu, logvar)
