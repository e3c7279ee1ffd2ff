"""Text in, text out: each function decodes what one of `codes` makes.

All decode greedily unless told otherwise. For log-probabilities too, `decode` the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from textvae.checks import InputError, number, one_of
from textvae.generation import codes
from textvae.generation.decoding import generate_text
from textvae.model import SentenceVAE

SOURCES = ("prior", "aggregate")


def sample(
    model: SentenceVAE,
    num_sentences: int,
    *,
    source: str = "prior",
    texts: Sequence[str] | None = None,
    seed: int = 0,
    strategy: str = "sample",
    allow_unknown: bool = False,
    **options: Any,
) -> list[str]:
    """New sentences: draw z, then x ~ p(x|z).

    Args:
        model: The model, with a tokenizer.
        num_sentences: How many.
        source: Where z comes from: `"prior"`, N(0, I), or `"aggregate"`, the posterior of one of
            `texts` taken at random.
        texts: The sentences of `"aggregate"`.
        seed: Seed of z and of the tokens. The same seed gives the same sentences; fewer of them
            are the first of more.
        strategy: How tokens are chosen.
        allow_unknown: Whether `<unk>` may come.
        **options: The other options of `Decoding`, and `batch_size`.

    Raises:
        InputError: If an argument is outside its range, or there is no z to take from texts.
    """
    one_of("source", source, SOURCES)
    if (source == "aggregate") != (texts is not None):
        raise InputError(f"texts must be given with source 'aggregate' only, got {source!r}")
    if texts is None:
        z = codes.prior_codes(model, num_sentences, seed=seed)
    else:
        z = codes.aggregate_codes(model, num_sentences, texts, seed=seed)
    options |= {"seed": seed, "strategy": strategy, "allow_unknown": allow_unknown}
    return generate_text(model, z, **options)


def reconstruct(
    model: SentenceVAE,
    texts: Sequence[str],
    *,
    sampled: bool = False,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """What comes back of each text when it goes through the latent space.

    Args:
        model: The model, with a tokenizer.
        texts: Sentences.
        sampled: Through a draw from the posterior instead of its mean.
        seed: Seed of that draw, and of the tokens where they are drawn.
        **options: Those of `Decoding`, and `batch_size`.

    Raises:
        InputError: If an option is outside its range; see also `check_texts`.
    """
    z = codes.posterior_codes(model, texts, sampled=sampled, seed=seed)
    return generate_text(model, z, seed=seed, **options)


def jitter(
    model: SentenceVAE,
    text: str,
    num_sentences: int = 5,
    *,
    scale: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """Sentences from around a text: z = mean + scale · deviation · noise.

    Args:
        model: The model, with a tokenizer.
        text: A sentence.
        num_sentences: How many; some may be equal.
        scale: In standard deviations of the posterior; 1 draws from it.
        seed: Seed of the noise, and of the tokens where they are drawn.
        **options: Those of `Decoding`, and `batch_size`.

    Raises:
        InputError: If an argument is outside its range; see also `check_texts`.
    """
    z = codes.jittered_codes(model, text, num_sentences, scale=scale, seed=seed)
    return generate_text(model, z, seed=seed, **options)


def interpolate(
    model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear", **options: Any
) -> list[str]:
    """Sentences on the way between texts' posterior means.

    Args:
        model: The model, with a tokenizer.
        *texts: Two sentences or more.
        steps: Sentences from one text to the next, both reconstructions included; at least 2.
        method: `"linear"` or `"spherical"`, see `lerp` and `slerp`.
        **options: Those of `Decoding`, and `batch_size`.

    Returns:
        Of m texts (m − 1) (steps − 1) + 1 sentences.

    Raises:
        InputError: If an argument is outside its range; see also `check_texts`.

    Reference:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 5.
    """
    z = codes.path_codes(model, *texts, steps=steps, method=method)
    return generate_text(model, z, **options)


def traverse(
    model: SentenceVAE,
    text: str,
    dim: int,
    *,
    low: float = -3.0,
    high: float = 3.0,
    steps: int = 7,
    **options: Any,
) -> list[str]:
    """Sentences with one dimension of a text's posterior mean set from `low` to `high`.

    Args:
        model: The model, with a tokenizer.
        text: A sentence.
        dim: The dimension, from 0 to Z − 1.
        low: First value; the prior's standard deviation is 1.
        high: Last value.
        steps: Values from `low` to `high`, both included; at least 2.
        **options: Those of `Decoding`, and `batch_size`.

    Raises:
        InputError: If an argument is outside its range; see also `check_texts`.
    """
    z = codes.traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    return generate_text(model, z, **options)


def analogy(model: SentenceVAE, a: str, b: str, c: str, **options: Any) -> str:
    """The sentence at a − b + c of the texts' posterior means: what is to c as a is to b.

    Args:
        model: The model, with a tokenizer.
        a: A sentence with what is to be brought over.
        b: The sentence like it, without.
        c: The sentence that is to have it.
        **options: Those of `Decoding`.

    Raises:
        InputError: If an option is outside its range; see also `check_texts`.
    """
    return generate_text(model, codes.analogy_codes(model, a, b, c), **options)[0]


def shift(
    model: SentenceVAE, text: str, vector: Tensor, *, strength: float = 1.0, **options: Any
) -> str:
    """The sentence at a text's posterior mean plus `strength` times an `attribute_vector` (Z,)."""
    mean = codes.encode(model, [text]).mean
    if vector.shape != mean.shape[1:]:
        raise InputError(
            f"vector must have the shape ({model.latent_dim},), got {tuple(vector.shape)}"
        )
    strength = number("strength", strength, "(-inf, inf)")
    return generate_text(model, mean + strength * vector.to(mean), **options)[0]
