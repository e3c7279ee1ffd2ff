"""How all benchmarks measure: both sides in turn, beside what the machine can multiply."""

import math
import os
import platform
import re
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from textvae import __version__
from textvae.report.text import markdown
from textvae.runtime import full_speed

T = TypeVar("T")

CPU = torch.device("cpu")

SIDE, SIDE_ON_ACCELERATOR = 2048, 8192
"""Rows of the square matrices: enough to keep a processor busy."""


class Timed(NamedTuple):
    """How much was done in how many seconds, where not all of the time counts."""

    amount: float
    seconds: float


class Side(NamedTuple):
    """Work, the operations that a unit of it needs, and how many units a result is."""

    work: Callable[[], Any]
    flops: float | None = None
    precision: torch.dtype = torch.float32
    device: torch.device = CPU
    count: Callable[[Any], float | Timed] = lambda done: done


class Bench:
    """Measures, prints each figure as soon as it is there, and keeps all of them for a file."""

    def __init__(self, name: str, rounds: int, options: Mapping[str, Any]) -> None:
        self.rounds, self.options, self.reference = rounds, options, "usual loop"
        self.pairs: list[dict[str, Any]] = []
        self.also: dict[str, Mapping[str, Any]] = {}
        self.content: dict[str, Any] = {"benchmark": name}

    def describe(self, precision: str, setting: Mapping[str, str]) -> None:
        """Print the machine and the settings, before anything is measured."""
        cpuinfo, load, python = Path("/proc/cpuinfo"), os.getloadavg()[0], platform.python_version()
        names = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
        processor = names[1] if names else platform.machine()
        header = {
            "machine": f"{processor}, {os.cpu_count()} cores, load {load:.1f} at the start",
            "versions": f"textvae {__version__}, Python {python}, torch {torch.__version__}",
            "threads": torch.get_num_threads(),
            "precision": precision,
            "rounds": self.rounds,
            **setting,
            "options": dict(self.options),
        }
        self.content |= {**header, "pairs": self.pairs, "also": self.also}
        print("\n".join(f"{name}: {value}" for name, value in header.items()), flush=True)

    def compare(self, name: str, unit: str, agreement: str, ours: Side, reference: Side) -> None:
        """Measure two sides in turn (A B A B …); `agreement` says how their results compare."""
        rounds = [(measured(ours), measured(reference)) for _ in range(self.rounds)]
        mine, theirs = zip(*rounds, strict=True)
        ratios = [a / b for (a, _), (b, _) in rounds]
        figures = {
            "name": name,
            "unit": unit,
            "agreement": agreement,
            "ours": summary(ours, mine),
            "reference": summary(reference, theirs),
            "ratio": median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        if ours.flops and self.reference != "usual loop":  # a smaller piece of the same kind
            growths = [reference.flops / ours.flops / ratio for ratio in ratios]
            figures["growth_over_arithmetic"] = median(growths)
        self.pairs.append(figures)
        table = markdown([line(figures, self.reference)]).splitlines()
        is_first = len(self.pairs) == 1
        shown = ["\nmedian (least–most):\n", *table] if is_first else table[-1:]
        print("\n".join(shown), flush=True)

    def note(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep and print figures that are no pair's."""
        self.also[name] = figures
        print(f"\n{name}: {told(figures)}", flush=True)


def measured(side: Side) -> tuple[float, float]:
    """Units per second of the wall's clock, and how many matrix products alone would allow."""
    start = time.perf_counter()
    done = side.work()
    settle(side.device)
    seconds = time.perf_counter() - start
    amount = side.count(done)
    rate = amount.amount / amount.seconds if isinstance(amount, Timed) else amount / seconds
    return rate, matrix_rate(side.precision, side.device) / side.flops if side.flops else math.inf


def summary(side: Side, rounds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """A side's rates over the rounds, with their share of what the arithmetic allows."""
    rates = [rate for rate, _ in rounds]
    figures = {"median": median(rates), "min": min(rates), "max": max(rates), "rounds": rates}
    if side.flops is None:
        return {**figures, "share_of_limit": None}
    figures["share_of_limit"] = median(rate / limit for rate, limit in rounds)
    products = median(limit for _, limit in rounds) * side.flops
    return {**figures, "flops_per_unit": side.flops, "matrix_flops_per_second": products}


def matrix_rate(precision: torch.dtype, device: torch.device = CPU) -> float:
    """Floating-point operations per second of a large square matrix product.

    By the quickest library there is: a limit that another one could exceed would be none.
    """
    side = SIDE if device.type == "cpu" else SIDE_ON_ACCELERATOR
    a, b = torch.randn(2, side, side, device=device).to(precision)

    def product() -> None:
        F.linear(a, b)
        settle(device)

    with full_speed(device):
        _, *seconds = timeit.repeat(product, number=1, repeat=6)  # the first warms up
    return 2 * side**3 / median(seconds)


def settle(device: torch.device) -> None:
    """Wait until a device has done all that it was given: accelerators work on behind the clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def line(figures: Mapping[str, Any], reference: str) -> dict[str, str]:
    """A pair's line of the table; the other side is called so."""

    def cell(found: Mapping[str, Any], middle: str, least: str, most: str) -> str:
        return f"{number(found[middle])} ({number(found[least])}–{number(found[most])})"

    share = figures["ours"]["share_of_limit"]
    cells = {
        "": figures["name"],
        "unit": figures["unit"],
        "textvae": cell(figures["ours"], "median", "min", "max"),
        reference: cell(figures["reference"], "median", "min", "max"),
        "ratio": cell(figures, "ratio", "ratio_min", "ratio_max"),
        "of the limit": "–" if share is None else f"{share:.0%}",
    }
    if "growth_over_arithmetic" in figures:
        cells["time / arithmetic"] = number(figures["growth_over_arithmetic"])
    return {**cells, "results": figures["agreement"]}


def number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def told(figures: Mapping[str, Any]) -> str:
    """Figures that are no pair's, in a line."""
    return ", ".join(
        f"{name} {number(value) if isinstance(value, float) else value}"
        for name, value in figures.items()
    )


def close(what: str, ours: Sequence[float], reference: Sequence[float], rtol: float) -> str:
    """How far two sides' results are apart, relative to their size; an error if over `rtol`."""
    apart = np.abs(np.subtract(ours, reference) / reference).max()
    said = f"{what} {apart:.1g} apart"
    if not apart <= rtol:
        raise RuntimeError(f"the two sides don't do the same: {said}, {rtol:g} is allowed")
    return said


def in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """What a function of a module returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak() -> float:
    """Most memory that this process has held, MiB; Linux tells."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 2**10
