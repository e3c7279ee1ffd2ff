"""Sentences of the embedded corpus: `accepted_share`, and what changes from one to the next.

`factor_path` reads the factors of sentences in a row, such as those of an interpolation, and says
which change at which step (`PathStep`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from textvae import grammar

__all__ = ["PathStep", "accepted_share", "factor_path"]


@dataclass(frozen=True)
class PathStep:
    """One sentence of a path.

    Attributes:
        text: The sentence.
        is_accepted: Whether the grammar can say it; if not, its factors are unknown.
        changed: Factors that differ from the last accepted sentence before: what they were and
            what they are.
    """

    text: str
    is_accepted: bool
    changed: dict[str, tuple[str, str]]


def accepted_share(texts: Sequence[str]) -> float:
    """Share of texts that the grammar can say.

    Raises:
        ValueError: If there are no texts.
    """
    if len(texts) == 0:
        raise ValueError("texts must hold at least one sentence, got 0")
    return fmean(_factors(text) is not None for text in texts)


def factor_path(texts: Sequence[str]) -> tuple[PathStep, ...]:
    """Which factors change at which step of a path.

    Args:
        texts: The sentences of the path in order.

    Returns:
        A step for each sentence. Nothing changes at a sentence that the grammar can't say, nor at
        the first that it can.
    """
    steps, before = [], None
    for text in texts:
        factors = _factors(text)
        changed = {}
        if factors is not None:
            known = factors if before is None else before
            changed = {k: (known[k], v) for k, v in factors.items() if known[k] != v}
            before = factors
        steps.append(PathStep(text, factors is not None, changed))
    return tuple(steps)


def _factors(text: str) -> dict[str, str] | None:
    """The factors of a text, from its likeliest derivation; None outside the grammar."""
    derivations = grammar.parse(text)
    if not derivations:
        return None
    return max(derivations, key=lambda derivation: derivation.log_prob).factors
