"""`reduce_batch`: how the sums of each sentence become one number, alike for every term.

Reconstruction and KL are sums over data and latent dimensions first, so that their ratio is that
of the ELBO whatever the reduction; an average over elements of one of them would be another β.

Shapes: B sentences, or whatever one example is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from textvae.losses.checks import choose

__all__ = ["reduce_batch"]

REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda per_sentence: per_sentence.sum(),
    "mean": lambda per_sentence: per_sentence.mean(),
    "none": lambda per_sentence: per_sentence,
}


def reduce_batch(per_sentence: Tensor, reduction: str) -> Tensor:
    """Sum, mean or nothing over the batch.

    Args:
        per_sentence: One term, already summed over each sentence's dimensions, (B,), nats.
        reduction: `"sum"`, `"mean"` or `"none"`.

    Returns:
        A scalar, or (B,) for `"none"`.

    Raises:
        ValueError: If the reduction is unknown.
    """
    return choose(REDUCTIONS, "reduction", reduction)(per_sentence)
