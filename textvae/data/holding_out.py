"""Validation and test sets drawn from a corpus that has none: `hold_out`, `check_fractions`."""

from __future__ import annotations

import numpy as np

from textvae.data.corpus import DataError
from textvae.data.texts import TextSplit

__all__ = ["check_fractions", "hold_out"]


def hold_out(
    split: TextSplit, fractions: dict[str, float], seed: int, where: str
) -> dict[str, TextSplit]:
    """Draw held-out splits from sentences and leave the rest for training.

    Args:
        split: All sentences.
        fractions: Share of each held-out split, as `check_fractions` allows; at least one
            sentence is drawn for a share above 0, no split is made for 0.
        seed: The same seed draws the same sentences.
        where: The corpus, for messages.

    Returns:
        `"train"` and the held-out splits, each in the order of the corpus.

    Raises:
        DataError: If there are too few sentences.
    """
    total = len(split)
    sizes = {name: max(1, round(total * share)) for name, share in fractions.items() if share > 0}
    if total <= sum(sizes.values()):
        raise DataError(
            f"{where} has too few sentences to be split into train, {', '.join(sizes)}: "
            f"at least {len(sizes) + 1} are needed, got {total}"
        )
    # The order is that of `permutation(total)`, in half its memory.
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    parts = np.split(order, np.cumsum(list(sizes.values())))
    named = {"train": parts[-1], **dict(zip(sizes, parts, strict=False))}
    return {name: split.select(np.sort(rows)) for name, rows in named.items()}


def check_fractions(valid_fraction: float, test_fraction: float) -> None:
    """Check shares of held-out sentences.

    Raises:
        DataError: If one is below 0 or they add up to 1 or more.
    """
    for name, share in (("valid_fraction", valid_fraction), ("test_fraction", test_fraction)):
        if not 0 <= share < 1:
            raise DataError(f"{name} must be at least 0 and below 1, got {share}")
    if valid_fraction + test_fraction >= 1:
        raise DataError(
            "valid_fraction and test_fraction must add up to less than 1, "
            f"got {valid_fraction} + {test_fraction}"
        )
