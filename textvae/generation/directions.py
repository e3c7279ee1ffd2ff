"""Arithmetic with sentences: `analogy`, `attribute_vector` and `shift`.

`analogy_codes` gives the code that `analogy` decodes.

Shapes: Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from textvae.generation.texts import encode, speak
from textvae.model import SentenceVAE

__all__ = ["analogy", "analogy_codes", "attribute_vector", "shift"]


def analogy(model: SentenceVAE, a: str, b: str, c: str, **options: Any) -> str:
    """The sentence at a − b + c: what is to c as a is to b.

    Args:
        model: The model, with a tokenizer.
        a: A sentence with what is to be brought over.
        b: The sentence like it, without.
        c: The sentence that is to have it.
        **options: Those of `Decoding`.

    Returns:
        The sentence, from the texts' posterior means.

    Raises:
        ValueError: If an option is outside its range; see also `check_texts`.
    """
    return speak(model, analogy_codes(model, a, b, c), **options)[0]


def analogy_codes(model: SentenceVAE, a: str, b: str, c: str) -> Tensor:
    """The code that `analogy` decodes, (1, Z); its arguments, and what it raises."""
    first, second, third = encode(model, [a, b, c]).mu
    z: Tensor = (first - second + third)[None]
    return z


def attribute_vector(
    model: SentenceVAE, with_texts: Sequence[str], without_texts: Sequence[str]
) -> Tensor:
    """The direction of an attribute: mean code of texts that have it minus those that do not.

    Args:
        model: The model, with a tokenizer.
        with_texts: Sentences that have it.
        without_texts: Sentences that do not; the more alike otherwise, the better.

    Returns:
        (Z,), for `shift`.

    Raises:
        ValueError: See `check_texts`.

    Reference:
        Larsen et al. (2016), Autoencoding beyond Pixels Using a Learned Similarity Metric, 4.1.
    """
    return encode(model, with_texts).mu.mean(0) - encode(model, without_texts).mu.mean(0)


def shift(
    model: SentenceVAE, text: str, vector: Tensor, *, strength: float = 1.0, **options: Any
) -> str:
    """The sentence at a text's posterior mean plus `strength` times a vector.

    Args:
        model: The model, with a tokenizer.
        text: A sentence.
        vector: (Z,), such as `attribute_vector` gives.
        strength: Its factor; below 0 takes the attribute away.
        **options: Those of `Decoding`.

    Returns:
        The sentence.

    Raises:
        ValueError: If an argument is outside its range; see also `check_texts`.
    """
    mu = encode(model, [text]).mu
    if vector.shape != mu.shape[1:]:
        raise ValueError(
            f"vector must have the shape ({model.latent_dim},), got {tuple(vector.shape)}"
        )
    if not math.isfinite(strength):
        raise ValueError(f"strength must be finite, got {strength}")
    return speak(model, mu + strength * vector.to(mu), **options)[0]
