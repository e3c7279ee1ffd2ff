"""Schedules for the weight of the KL term: closed forms, and annealers that a training loop steps.

`kl = annealer(kl)` weighs a KL, a number or a tensor of any framework; `annealer.step()` follows
every optimizer step, counted from 0. A value out of range is an InputError (a ValueError).

One rise: Bowman et al. 2016, arXiv:1511.06349. Cycles: Fu et al. 2019, arXiv:1903.10145.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from textvae.checks import InputError, choose, integer, number, one_of, switch


def linear_annealing(step: int, warmup_steps: int, max_beta: float = 1.0) -> float:
    """Return the weight on a straight line from 0 to `max_beta` in [0, inf), where it stays."""
    step, warmup_steps = integer("step", step, 0), integer("warmup_steps", warmup_steps, 0)
    progress = 1.0 if step >= warmup_steps else step / warmup_steps
    return number("max_beta", max_beta, "[0, inf)") * progress


def cosine_annealing(step: int, warmup_steps: int, max_beta: float = 1.0) -> float:
    """Return the weight on half a cosine wave; its ends and arguments are `linear_annealing`'s."""
    return number("max_beta", max_beta, "[0, inf)") * _cosine(linear_annealing(step, warmup_steps))


def sigmoid_annealing(step: int, warmup_steps: int, max_beta: float = 1.0, k: float = 10) -> float:
    """Return `max_beta / (1 + exp(-x))` with `x = k * (step / warmup_steps - 1 / 2)`.

    It only comes near its ends: with a steepness `k`, in [1e-6, inf), of 10 it rises from 0.0067
    to 0.9933 `max_beta` in the warm-up, and goes on. `SigmoidAnnealer` meets both ends exactly.
    """
    step, warmup_steps = integer("step", step, 0), integer("warmup_steps", warmup_steps, 0)
    max_beta, k = number("max_beta", max_beta, "[0, inf)"), number("k", k, "[1e-6, inf)")
    x = k * (step / warmup_steps - 0.5) if warmup_steps else math.inf
    return max_beta * (0.5 + 0.5 * math.tanh(0.5 * x))  # the logistic of x, which can't overflow


def cyclical_annealing(
    step: int, cycle_length: int = 10000, ratio: float = 0.5, max_beta: float = 1.0
) -> float:
    """Return a weight that rises from 0 in the first part of every cycle and is full in the rest.

    The `ratio` of a cycle spent rising, in (0, 1], is rounded down to whole steps; at 1, cycles end
    one step below full weight.
    """
    cycle_length = integer("cycle_length", cycle_length, 1)
    position, ratio = integer("step", step, 0) % cycle_length, number("ratio", ratio, "(0, 1]")
    return linear_annealing(position, int(cycle_length * ratio), max_beta)


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 - math.cos(math.pi * progress))


def logistic(progress: float, k: float = 10) -> float:
    """An S from exactly 0 to exactly 1: the logistic, stretched."""
    # logistic(x) = (1 + tanh(x / 2)) / 2: dividing tanh by its last value makes both ends exact.
    return 0.5 * (1.0 + math.tanh(0.5 * k * (progress - 0.5)) / math.tanh(0.25 * k))


CURVES: dict[str, Callable[[float], float]] = {
    "linear": float,
    "cosine": _cosine,
    "sigmoid": logistic,
}
_CHECKS: dict[type, Callable[[str, Any], Any]] = {  # of what a state holds
    int: partial(integer, low=0),
    bool: switch,
    float: partial(number, interval="(-inf, inf)"),
}


@runtime_checkable
class KLAnnealer(Protocol):
    """What a training loop needs from an annealer; one that follows the KL sees it in the call."""

    def __call__(self, kl: Any, /) -> Any:
        """Return `kl` times the weight of the present batch."""

    def step(self) -> object:
        """Move on by one optimizer step."""


class BaseAnnealer:
    """What schedules and controllers share: a count of steps, and a state to save."""

    current_step: int = 0

    def step(self) -> None:
        """Move on by one optimizer step."""
        self.current_step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what changes during training: the counter, not the settings."""
        return {"current_step": self.current_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken; a malformed state raises and changes nothing."""
        old = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(old):
            raise InputError(f"state must be a mapping with the keys {list(old)}, got {state!r}")
        vars(self).update({name: _CHECKS[type(old[name])](name, state[name]) for name in old})

    def __repr__(self) -> str:
        shown = {**vars(self), "current_step": self.current_step}.items()
        pairs = ", ".join(f"{name}={value!r}" for name, value in shown if name[0] != "_")
        return f"{type(self).__name__}({pairs})"


class ScheduledAnnealer(BaseAnnealer, ABC):
    """An annealer whose weight is a pure function of one counter, which is all its state.

    Attributes:
        start_beta: Weight from which it rises, instead of 0.
        hold_steps: Steps for which it stays there first.
    """

    start_beta: float = 0.0
    hold_steps: int = 0
    _settled_from: float = 0  # first step from which the weight stays as it is; infinity: never

    @abstractmethod
    def _weight(self, step: int) -> float: ...

    def value_at(self, step: int) -> float:
        """Return the weight of the batch after `step` optimizer steps, the first being at 0."""
        return self._raised(integer("step", step, 0))

    @property
    def value(self) -> float:
        """The weight of the coming batch."""
        return self._raised(self.current_step)

    def _raised(self, step: int) -> float:
        weight = self._weight(max(step - self.hold_steps, 0))
        if not self.start_beta:
            return weight
        return self.start_beta + weight * (1 - self.start_beta / getattr(self, "max_beta", 1.0))

    @property
    def finished(self) -> bool:
        """Whether the schedule is over, so that stepping will not change the weight again."""
        return self.current_step >= self.hold_steps + self._settled_from

    def __call__(self, kl: Any) -> Any:
        """Return `kl * value`, for any `kl` that can be multiplied by a float."""
        return kl * self.value

    def plot(self, num_steps: int | None = None) -> Any:
        """Draw β over steps with matplotlib, by default until it rests; gives the axes."""
        from matplotlib import pyplot

        if num_steps is None:
            settled = self._settled_from if 0 < self._settled_from < math.inf else 800
            num_steps = int(self.hold_steps + settled) * 5 // 4
        axes = pyplot.subplots()[1]
        axes.plot([self.value_at(step) for step in range(integer("num_steps", num_steps, 1) + 1)])
        axes.set(xlabel="step", ylabel="weight of the KL term, β")
        return axes


class ConstantAnnealer(ScheduledAnnealer):
    """No annealing: the same weight, `beta` in [0, inf), at every step."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = number("beta", beta, "[0, inf)")

    def _weight(self, step: int) -> float:
        return self.beta


class LinearAnnealer(ScheduledAnnealer):
    """Straight rise from 0 to `max_beta`, with the arguments of `linear_annealing`."""

    def __init__(self, warmup_steps: int, max_beta: float = 1.0) -> None:
        self.warmup_steps = self._settled_from = integer("warmup_steps", warmup_steps, 0)
        self.max_beta = number("max_beta", max_beta, "[0, inf)")

    def _weight(self, step: int) -> float:
        return linear_annealing(step, self.warmup_steps, self.max_beta)


class CosineAnnealer(LinearAnnealer):
    """Rise on half a cosine wave from 0 to `max_beta`, with the arguments of `cosine_annealing`."""

    def _weight(self, step: int) -> float:
        return cosine_annealing(step, self.warmup_steps, self.max_beta)


class SigmoidAnnealer(LinearAnnealer):
    """S-shaped rise from 0 to `max_beta`, with the arguments of `sigmoid_annealing`.

    The closed form is stretched, at `k=10` by less than 0.7 %, to start at 0 and end at `max_beta`.
    """

    def __init__(self, warmup_steps: int, max_beta: float = 1.0, k: float = 10) -> None:
        super().__init__(warmup_steps, max_beta)
        self.k = number("k", k, "[1e-6, inf)")

    def _weight(self, step: int) -> float:
        return self.max_beta * logistic(linear_annealing(step, self.warmup_steps), self.k)


@dataclass(eq=False, repr=False)
class CyclicalAnnealer(ScheduledAnnealer):
    """Repeated rises from 0, each held at full weight for the rest of its cycle; then full weight.

    Every cycle has at least one step at `max_beta`, even with `ratio=1`. Give either the length of
    one cycle or the steps of all: where these don't divide evenly, lengths differ by one step.
    """

    cycle_length: int | None = None  # steps of one cycle, at least 1
    num_cycles: int | None = None  # until the weight stays full; None with cycle_length: no end
    _: KW_ONLY
    total_steps: int | None = None  # of all cycles; 0 for full weight from the first step
    ratio: float = 0.5  # part of a cycle spent rising, in (0, 1], rounded down to whole steps
    shape: str = "linear"  # of the rise: linear, cosine, or sigmoid as in `SigmoidAnnealer`
    max_beta: float = 1.0

    def __post_init__(self) -> None:
        length, cycles, total = self.cycle_length, self.num_cycles, self.total_steps
        if (length is None) == (total is None):
            got = f"got {(length, total)}"
            raise InputError(f"exactly one of cycle_length and total_steps is needed, {got}")
        if length is None:
            total = integer("total_steps", total, 0)
            self._pattern = total, integer("num_cycles", cycles, 1, total or None)
        else:
            self._pattern = integer("cycle_length", length, 1), 1
            total = None if cycles is None else length * integer("num_cycles", cycles, 1)
        self.total_steps = total
        self.ratio = number("ratio", self.ratio, "(0, 1]")
        one_of("shape", self.shape, CURVES)
        self.max_beta = number("max_beta", self.max_beta, "[0, inf)")
        if total is None:
            self._settled_from = math.inf
        elif total > 0:
            self._settled_from = sum(self._start_and_rise(total - 1))  # the last cycle has risen

    def _weight(self, step: int) -> float:
        if step >= self._settled_from:
            return self.max_beta
        start, rise = self._start_and_rise(step)
        return self.max_beta * CURVES[self.shape](linear_annealing(step - start, rise))

    def _start_and_rise(self, step: int) -> tuple[int, int]:
        # Cycle i starts at floor(i * steps / cycles), in integers, so exact at any length.
        steps, cycles = self._pattern
        index = ((step + 1) * cycles - 1) // steps
        start, end = index * steps // cycles, (index + 1) * steps // cycles
        return start, min(int((end - start) * self.ratio), end - start - 1)


class FeedbackAnnealer(BaseAnnealer, ABC):
    """An annealer that follows the KL it is called on, so as to hold it near a target, in nats.

    The weight changes in `step`, by the KL of the last call. `finished` is only whether the first
    `warmup_steps` are over: the weight never comes to rest.
    """

    def __init__(self, target: float, warmup_steps: int, start: float) -> None:
        self.target = number("target", target, "[0, inf)")
        self.warmup_steps = integer("warmup_steps", warmup_steps, 0)
        self.value, self.current_step = start, 0
        self._kl = self.target

    def __call__(self, kl: Any) -> Any:
        """Note the KL, a mean over sentences, and return `kl * value`."""
        self._kl = float(kl)
        return kl * self.value

    def step(self) -> None:
        """Move on by one optimizer step."""
        super().step()
        self.value = self._updated(self._kl)

    @abstractmethod
    def _updated(self, kl: float) -> float: ...

    @property
    def finished(self) -> bool:
        """Whether the warm-up is over."""
        return self.current_step >= self.warmup_steps

    def state_dict(self) -> dict[str, Any]:
        """Return all of the annealer."""
        return dict(vars(self))


class PIAnnealer(FeedbackAnnealer):
    """A PI controller (Shao et al. 2020, ControlVAE, arXiv:2004.05988, equations 9-11).

    β = P + I, within [`min_beta`, `max_beta`]. With e = `target` - KL, P = kp / (1 + exp(e)), and I
    sums -ki e over the steps, except where that would push a weight further that is at its bound
    already (the paper's code sums on, and takes long to come back).
    """

    def __init__(
        self,
        target: float,
        warmup_steps: int = 0,
        *,
        max_beta: float = 1.0,
        min_beta: float = 0.0,
        kp: float = 0.01,
        ki: float = 0.0001,
    ) -> None:
        super().__init__(target, warmup_steps, number("min_beta", min_beta, "[0, inf)"))
        self.min_beta = self.value
        self.max_beta = number("max_beta", max_beta, f"[{self.min_beta}, inf)")
        self.kp, self.ki = number("kp", kp, "[0, inf)"), number("ki", ki, "[0, inf)")
        self._integral = 0.0

    def _updated(self, kl: float) -> float:
        error = self.target - kl
        proportional = self.kp * (0.5 - 0.5 * math.tanh(0.5 * error))  # kp / (1 + exp(e))
        beta = self.min_beta + proportional + self._integral - self.ki * error
        if self.min_beta <= beta <= self.max_beta or (beta > self.max_beta) == (error > 0):
            self._integral -= self.ki * error
        return min(max(beta, self.min_beta), self.max_beta)


class LagrangeAnnealer(FeedbackAnnealer):
    """A minimum desired rate, KL >= `target`: β = 1 - λ, with a multiplier λ >= 0 that ascends.

    λ follows the gradient `target` - KL by RMSprop (decay 0.99), one step of size `lr` at a time:
    it falls to 0, and β rises to 1, once the KL stays above the rate. Pelsmaeker & Aziz (2020),
    arXiv:1904.08194, section 3: rate 5, λ = 1.01 at the start, lr 1e-3.
    """

    def __init__(
        self, target: float, warmup_steps: int = 0, *, lr: float = 1e-3, start: float = 1.01
    ) -> None:
        self.multiplier = number("start", start, "[0, inf)")
        super().__init__(target, warmup_steps, 1.0 - start)
        self.lr, self._square = number("lr", lr, "(0, inf)"), 0.0

    def _updated(self, kl: float) -> float:
        gradient = self.target - kl
        self._square = 0.99 * self._square + 0.01 * (gradient * gradient)
        self.multiplier += self.lr * gradient / (math.sqrt(self._square) + 1e-8)
        self.multiplier = max(0.0, self.multiplier)
        return 1.0 - self.multiplier


ANNEALERS: dict[str, Callable[..., ScheduledAnnealer]] = {
    "constant": ConstantAnnealer,
    "linear": LinearAnnealer,
    "sigmoid": SigmoidAnnealer,
    "cosine": CosineAnnealer,
    "cyclical": CyclicalAnnealer,
}

CONTROLLERS: dict[str, Callable[..., FeedbackAnnealer]] = {
    "control": PIAnnealer,
    "mdr": LagrangeAnnealer,
}


def build_annealer(
    name: str,
    *,
    warmup_steps: int,
    max_beta: float = 1.0,
    num_cycles: int = 4,
    cycle_ratio: float = 0.5,
    cycle_shape: str = "linear",
    sigmoid_k: float = 10,
    target_rate: float = 5.0,
    start_beta: float = 0.0,
    hold_steps: int = 0,
) -> ScheduledAnnealer | FeedbackAnnealer:
    """Return a new annealer or controller.

    The schedules begin at `start_beta`, stay there for `hold_steps`, and have risen to `max_beta`
    `warmup_steps` later; 'constant' and the controllers know neither of the first two.
    `num_cycles`, which fill the warm-up, `cycle_ratio` and `cycle_shape` are for 'cyclical' only,
    `sigmoid_k` for 'sigmoid'; 'control' and 'mdr' hold the KL at `target_rate`, nats per sentence.
    """
    if name in CONTROLLERS:
        bounds = {"max_beta": max_beta} if name == "control" else {}
        return CONTROLLERS[name](target_rate, warmup_steps, **bounds)
    make = choose(ANNEALERS, "name", name)
    if name == "constant":
        return make(max_beta)
    if name == "cyclical":
        if 0 < integer("warmup_steps", warmup_steps, 0) < integer("num_cycles", num_cycles, 1):
            got = f"got {warmup_steps}; in training, warmup_epochs (--warmup-epochs) sets them"
            raise InputError(f"warmup_steps must be 0 or at least num_cycles, {num_cycles}, {got}")
        cycles = {"num_cycles": num_cycles, "ratio": cycle_ratio, "shape": cycle_shape}
        made = make(total_steps=warmup_steps, max_beta=max_beta, **cycles)
    else:
        steepness = {"k": sigmoid_k} if name == "sigmoid" else {}
        made = make(warmup_steps, max_beta, **steepness)
    made.start_beta = number("start_beta", start_beta, f"[0, {max_beta}]")
    made.hold_steps = integer("hold_steps", hold_steps, 0)
    return made
