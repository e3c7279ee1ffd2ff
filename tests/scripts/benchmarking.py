"""What the tests of `scripts/benchmark.py` share: its parts, and a tiny size."""

from __future__ import annotations

import importlib
from typing import Any

TINY = {
    "vocab_size": 20,
    "embedding_dim": 6,
    "encoder_hidden_size": 4,
    "decoder_hidden_size": 8,
    "latent_dim": 3,
}


def part(name: str) -> Any:
    """A module of the benchmarks; `scripts/` must be importable."""
    return importlib.import_module(f"benchmarks.{name}")
