"""`decode`: from latent codes, (sentences, dimensions), to sentences, by any strategy."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from textvae.checks import InputError, integer
from textvae.config import Decoding
from textvae.generation.beam import beam_search
from textvae.generation.tokens import NextToken, generate_tokens
from textvae.model import SentenceVAE
from textvae.runtime import full_speed

# Scores (sentences × beams × vocabulary) held at a time where no batch size is given: 32 MiB, as
# much as memory is used again for (`runtime.full_speed`).
MAX_SCORES = 2**23 - 2**11


class Decoded(NamedTuple):
    """One generated sentence, and what beam search has found beside it."""

    text: str
    ids: list[int]  # without special tokens
    log_prob: float  # the model's own log p(x|z), nats, EOS included unless cut at `max_length`
    others: tuple[Decoded, ...] = ()  # the next best, if they were asked for


@torch.no_grad()
def decode(
    model: SentenceVAE,
    z: Tensor,
    *,
    num_best: int = 1,
    batch_size: int | None = None,
    **options: Any,
) -> list[Decoded]:
    """Generate a sentence for each latent code, in their order: the one way from z to text.

    Args:
        model: The model, with a tokenizer; put it into evaluation mode first.
        z: Latent codes, (B sentences, Z dimensions).
        num_best: Of beam search: so many best sentences for each code, at most the number of beams,
            the best with all `others`; fewer where the search has found no more.
        batch_size: Codes decoded together, which changes no more than rounding; by default as many
            as fit into 32 MiB of scores.
        **options: Those of `Decoding`.
    """
    chosen, tokenizer = Decoding(**options), model.tokenizer
    integer("num_best", num_best, 1, chosen.beams)
    if (shape := tuple(z.shape)) != (len(z), model.latent_dim):
        raise InputError(f"z must have the shape (sentences, {model.latent_dim}), got {shape}")
    if batch_size is None:
        batch_size = max(1, MAX_SCORES // (model.vocab_size * chosen.beams))
    integer("batch_size", batch_size, 1)
    z, found = z.to(model.device), [list[tuple[Any, ...]]() for _ in range(len(z))]
    with full_speed(model.device):
        next_token = NextToken(model, chosen)
        for first in range(0, len(z), batch_size):
            part = z[first : first + batch_size]
            if chosen.strategy == "beam":
                ended = beam_search(model, part, next_token, num_best)
            else:
                ended = generate_tokens(model, part, next_token, first)
            for group in ended:
                for owner, *rest in zip(*(column.tolist() for column in group), strict=True):
                    found[first + owner].append(rest)

    def rank(one: tuple[list[int], float]) -> float:
        num_tokens = min(len(one[0]) + 1, chosen.max_length)  # EOS counted where there is one
        return -one[1] / float(num_tokens**chosen.length_penalty)

    results = []
    for candidates in found:
        best = sorted(candidates, key=rank)[:num_best]
        texts = tokenizer.decode_batch([ids for ids, _ in best])
        result, *others = [Decoded(text, *one) for text, one in zip(texts, best, strict=True)]
        results.append(result._replace(others=tuple(others)))
    return results


def generate_text(model: SentenceVAE, z: Tensor, **options: Any) -> list[str]:
    """The text of each latent code, (B, Z); see `decode`."""
    return [found.text for found in decode(model, z, **options)]
