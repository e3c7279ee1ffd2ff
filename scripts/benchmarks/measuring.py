"""What all benchmarks share: pairs measured in turn, the table, the machine and the settings."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser, Namespace

from textvae import __version__

__all__ = ["Benchmark", "Pair", "Plan", "at_least", "line", "measure", "surroundings"]

Work = Callable[[], float]
"""Does a piece of work and says how much it was, in a pair's unit."""


class Pair(NamedTuple):
    """Two ways to the same result.

    Attributes:
        name: What is done.
        unit: Of which a rate counts so many.
        check: Does both once, and says in a few words how the results compare.
        ours: textvae's way.
        reference: The other.

    Raises:
        RuntimeError: By `check`, if they are not the same.
    """

    name: str
    unit: str
    check: Callable[[], str]
    ours: Work
    reference: Work


class Plan(NamedTuple):
    """What a sub-command measures.

    Attributes:
        pairs: In order.
        precision: Of the arithmetic.
        setting: By name, what a reader must know to judge the figures.
    """

    pairs: Sequence[Pair]
    precision: str
    setting: Mapping[str, str]


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


def alternate(ours: Work, reference: Work, rounds: int) -> tuple[list[float], list[float]]:
    """The rates of both, per second of the wall's clock, measured in turn."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, found in zip((ours, reference), rates, strict=True):
            start = time.perf_counter()
            amount = work()
            found.append(amount / (time.perf_counter() - start))
    return rates


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, range and the values themselves."""
    return {
        "median": median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """One pair's figures, as they are written to JSON."""
    agreement = pair.check()
    ours, reference = alternate(pair.ours, pair.reference, rounds)
    ratios = spread([a / b for a, b in zip(ours, reference, strict=True)])
    return {
        "name": pair.name,
        "unit": pair.unit,
        "agreement": agreement,
        "ours": spread(ours),
        "reference": spread(reference),
        "ratio": ratios["median"],
        "ratio_min": ratios["min"],
        "ratio_max": ratios["max"],
    }


def number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def line(figures: Mapping[str, Any]) -> dict[str, str]:
    """A pair's line of the table."""

    def cell(found: Mapping[str, Any]) -> str:
        low, high = number(found["min"]), number(found["max"])
        return f"{number(found['median'])} ({low}–{high})"

    low, high = number(figures["ratio_min"]), number(figures["ratio_max"])
    return {
        "": figures["name"],
        "unit": figures["unit"],
        "textvae": cell(figures["ours"]),
        "usual loop": cell(figures["reference"]),
        "ratio": f"{number(figures['ratio'])} ({low}–{high})",
        "results": figures["agreement"],
    }


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
