"""What all benchmarks share: pairs measured in turn, the table, the machine and the settings."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser, Namespace

from benchmarks.arithmetic import matrix_rate
from textvae import __version__

__all__ = [
    "Benchmark",
    "Limit",
    "Pair",
    "Plan",
    "Timed",
    "at_least",
    "close",
    "line",
    "measure",
    "surroundings",
    "told",
]


class Timed(NamedTuple):
    """How much was done in how many seconds, where not all of the time counts."""

    amount: float
    seconds: float


Work = Callable[[], float | Timed]
"""Does a piece of work and says how much it was, in a pair's unit."""


class Limit(NamedTuple):
    """What bounds a rate: the machine can't do more than it can multiply.

    Attributes:
        flops: Floating-point operations that a unit of the work needs.
        precision: In which they are done.
    """

    flops: float
    precision: torch.dtype = torch.float32


@dataclass(frozen=True)
class Pair:
    """Two ways to the same result.

    Attributes:
        name: What is done.
        unit: Of which a rate counts so many.
        check: Does both once, and says in a few words how the results compare.
        ours: textvae's way.
        reference: The other.
        limit: Of ours, where it is known.
        reference_limit: Of the other.
        no_limit: Why one is not known.
        is_growth: Whether the other is a smaller piece of the same kind: then time is compared
            with arithmetic.

    Raises:
        RuntimeError: By `check`, if they are not the same.
    """

    name: str
    unit: str
    check: Callable[[], str]
    ours: Work
    reference: Work
    limit: Limit | None = None
    reference_limit: Limit | None = None
    no_limit: str = "not bound by matrix products"
    is_growth: bool = False


@dataclass(frozen=True)
class Plan:
    """What a sub-command measures.

    Attributes:
        pairs: In order.
        precision: Of the arithmetic.
        setting: By name, what a reader must know to judge the figures.
        reference: What the pairs' other way is called.
        also: By name, figures that are no rates, measured once, after the pairs.
        conclusions: By name, figures that follow from those of all pairs.
    """

    pairs: Sequence[Pair]
    precision: str
    setting: Mapping[str, str]
    reference: str = "usual loop"
    also: Mapping[str, Callable[[], Mapping[str, Any]]] = field(default_factory=dict)
    conclusions: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]] = field(
        default_factory=dict
    )


class Benchmark(NamedTuple):
    """A sub-command.

    Attributes:
        help: What it measures, in a line.
        add_options: Adds its own options to its parser.
        plan: Prepares what is measured; checks the options.
    """

    help: str
    add_options: Callable[[ArgumentParser], None]
    plan: Callable[[Namespace], Plan]


class Rates(NamedTuple):
    """Of each round: both sides' units per second, and multiplications of each precision."""

    ours: list[float]
    reference: list[float]
    products: dict[torch.dtype, list[float]]


def alternate(pair: Pair, rounds: int) -> Rates:
    """The rates of both sides, and of the matrix products that limit them, measured in turn."""
    limits = [limit for limit in (pair.limit, pair.reference_limit) if limit is not None]
    found = Rates([], [], {limit.precision: [] for limit in limits})
    for _ in range(rounds):
        found.ours.append(rate(pair.ours))
        found.reference.append(rate(pair.reference))
        for precision, products in found.products.items():
            products.append(matrix_rate(precision))
    return found


def rate(work: Work) -> float:
    """Of a piece of work, per second of the wall's clock."""
    start = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - start
    return done.amount / done.seconds if isinstance(done, Timed) else done / seconds


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, range and the values themselves."""
    return {
        "median": median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def quotients(numbers: Sequence[float], others: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(numbers, others, strict=True)]


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """One pair's figures, as they are written to JSON."""
    agreement = pair.check()
    rates = alternate(pair, rounds)
    ratios = spread(quotients(rates.ours, rates.reference))
    figures = {
        "name": pair.name,
        "unit": pair.unit,
        "agreement": agreement,
        "ours": side(rates.ours, pair.limit, rates),
        "reference": side(rates.reference, pair.reference_limit, rates),
        "ratio": ratios["median"],
        "ratio_min": ratios["min"],
        "ratio_max": ratios["max"],
    }
    if pair.limit is None or pair.reference_limit is None:
        figures["no_limit"] = pair.no_limit
    elif pair.is_growth:
        flops = pair.reference_limit.flops / pair.limit.flops
        growths = [flops / ratio for ratio in ratios["rounds"]]
        figures["growth_over_arithmetic"] = median(growths)
    return figures


def side(own: Sequence[float], limit: Limit | None, rates: Rates) -> dict[str, Any]:
    """One side's rates, with their share of what the arithmetic allows."""
    figures = {**spread(own), "share_of_limit": None}
    if limit is not None:
        products = rates.products[limit.precision]
        figures["share_of_limit"] = median(quotients(own, products)) * limit.flops
        figures["flops_per_unit"] = limit.flops
        figures["matrix_flops_per_second"] = median(products)
    return figures


def number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line(figures: Mapping[str, Any], reference: str) -> dict[str, str]:
    """A pair's line of the table; the other way is called so."""

    def cell(found: Mapping[str, Any]) -> str:
        low, high = number(found["min"]), number(found["max"])
        return f"{number(found['median'])} ({low}–{high})"

    low, high = number(figures["ratio_min"]), number(figures["ratio_max"])
    share = figures["ours"]["share_of_limit"]
    cells = {
        "": figures["name"],
        "unit": figures["unit"],
        "textvae": cell(figures["ours"]),
        reference: cell(figures["reference"]),
        "ratio": f"{number(figures['ratio'])} ({low}–{high})",
        "of the limit": "–" if share is None else f"{share:.0%}",
    }
    if "growth_over_arithmetic" in figures:
        cells["time / arithmetic"] = number(figures["growth_over_arithmetic"])
    return {**cells, "results": figures["agreement"]}


def told(figures: Mapping[str, Any]) -> str:
    """Figures that are no rates, in a line."""
    return ", ".join(
        f"{name} {number(value) if isinstance(value, float) else value}"
        for name, value in figures.items()
    )


def processor() -> str:
    """The processor's model, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def surroundings(plan: Plan, rounds: int) -> dict[str, Any]:
    """The machine, the versions and the settings that figures depend on."""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    python, torch_ = platform.python_version(), torch.__version__
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores{load}",
        "versions": f"textvae {__version__}, Python {python}, torch {torch_}",
        "threads": torch.get_num_threads(),
        "precision": plan.precision,
        "rounds": rounds,
        **plan.setting,
    }


def at_least(least: int, **options: int | None) -> None:
    """Refuse options that are too small."""
    for name, value in options.items():
        if value is not None and value < least:
            flag = name.replace("_", "-")
            raise ValueError(f"{flag} must be at least {least}, got {value}")


def close(what: str, ours: Sequence[float], reference: Sequence[float], rtol: float) -> str:
    """How far two ways' results are apart, relative to their size.

    Raises:
        RuntimeError: If it is more than `rtol`, or a result is not finite.
    """
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours, reference, strict=True))
    said = f"{what} {apart:.1g} apart"
    if not apart <= rtol:
        raise RuntimeError(f"the two sides don't do the same: {said}, {rtol:g} is allowed")
    return said
