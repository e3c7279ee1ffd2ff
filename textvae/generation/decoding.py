"""From latent codes to token ids, by any strategy: `decode`, `decode_scored`, `decode_n_best`.

All three take every option of `Decoding` by name. Sentences are decoded in batches that bound
memory; those that have ended leave the batch, and decoding always ends.

Shapes: B sentences, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from textvae.generation.beam import beam_search
from textvae.generation.options import Decoding
from textvae.generation.walk import Decoded, Rules, rules_of, walk
from textvae.model import SentenceVAE
from textvae.runtime import full_speed

__all__ = ["decode", "decode_n_best", "decode_scored"]

MAX_SCORES = 2**24
"""Scores (sentences × beams × vocabulary) held at a time where no batch size is given: 64 MiB."""

Result = TypeVar("Result")


def decode(
    model: SentenceVAE, z: Tensor, *, batch_size: int | None = None, **options: Any
) -> list[list[int]]:
    """Generate one sentence for each latent code.

    Args:
        model: The model, with a tokenizer; put it into evaluation mode first.
        z: Latent codes, (B, Z).
        batch_size: Codes decoded together; as many as fit into 64 MiB of scores by default. The
            sentences do not depend on it, up to rounding.
        **options: Those of `Decoding`.

    Returns:
        Token ids of each sentence, in the order of `z`, without special tokens.

    Raises:
        ValueError: If an option is outside its range, `z` has another shape, or the model has no
            tokenizer.
        TypeError: If there is no such option.
    """
    return [found.ids for found in decode_scored(model, z, batch_size=batch_size, **options)]


def decode_scored(
    model: SentenceVAE, z: Tensor, *, batch_size: int | None = None, **options: Any
) -> list[Decoded]:
    """Generate one sentence for each latent code, with its log-probability; see `decode`.

    `log_prob` is the model's own, whatever filters and penalties chose the tokens.
    """
    chosen = Decoding(**options)
    if chosen.strategy == "beam":
        results = decode_n_best(model, z, 1, batch_size=batch_size, **options)
        return [found[0] for found in results]
    return _in_batches(walk, model, z, chosen, batch_size)


def decode_n_best(
    model: SentenceVAE,
    z: Tensor,
    num_return: int,
    *,
    batch_size: int | None = None,
    **options: Any,
) -> list[list[Decoded]]:
    """The best sentences that beam search finds for each latent code.

    Args:
        model: See `decode`.
        z: See `decode`.
        num_return: Sentences for each code, at most the number of beams.
        batch_size: See `decode`.
        **options: Those of `Decoding`; the strategy is `"beam"`.

    Returns:
        For each code its sentences, best score first, all different; fewer than `num_return` only
        where the search has found no more.

    Raises:
        ValueError: As `decode`, or if `num_return` is not from 1 to the number of beams.
    """
    chosen = Decoding(**{"strategy": "beam", **options})
    if chosen.strategy != "beam":
        raise ValueError(f"strategy must be 'beam' for n-best lists, got {chosen.strategy!r}")
    if not 1 <= num_return <= chosen.beams:
        raise ValueError(
            f"num_return must be from 1 to the number of beams ({chosen.beams}), got {num_return}"
        )

    def find(model: SentenceVAE, z: Tensor, rules: Rules, first: int) -> list[list[Decoded]]:
        return beam_search(model, z, rules, num_return)

    return _in_batches(find, model, z, chosen, batch_size)


def _in_batches(
    find: Callable[[SentenceVAE, Tensor, Rules, int], list[Result]],
    model: SentenceVAE,
    z: Tensor,
    options: Decoding,
    batch_size: int | None,
) -> list[Result]:
    if z.ndim != 2 or z.shape[1] != model.latent_dim:
        raise ValueError(
            f"z must have the shape (sentences, {model.latent_dim}), got {tuple(z.shape)}"
        )
    if batch_size is None:
        beams = options.beams if options.strategy == "beam" else 1
        batch_size = max(1, MAX_SCORES // (model.vocab_size * beams))
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    z, found = z.to(model.device), []
    with full_speed(model.device):
        rules = rules_of(model, model.tokenizer, options)
        for first in range(0, len(z), batch_size):
            found += find(model, z[first : first + batch_size], rules, first)
    return found
