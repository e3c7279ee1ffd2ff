"""`TextVAE`: a model with the functions of this room as methods."""

from __future__ import annotations

from textvae.generation import decoding, directions, nearby, paths, texts
from textvae.model import SentenceVAE

__all__ = ["TextVAE"]


class TextVAE(SentenceVAE):
    """A `SentenceVAE` that reads and writes text.

        >>> model = TextVAE.from_pretrained("runs/grammar-1")           # doctest: +SKIP
        >>> model.interpolate("prices fell", "prices rose", steps=7)    # doctest: +SKIP

    Every method is the function of the same name in `textvae.generation`, called on this model.
    Only `encode_texts` has another: `encode` is already the one of a batch.
    """

    decode = decoding.decode
    decode_scored = decoding.decode_scored
    decode_n_best = decoding.decode_n_best

    encode_texts = texts.encode
    sample = texts.sample
    reconstruct = texts.reconstruct
    jitter = texts.jitter

    interpolate = paths.interpolate
    interpolation = paths.interpolation
    traverse = paths.traverse

    analogy = directions.analogy
    attribute_vector = directions.attribute_vector
    shift = directions.shift

    neighbours = nearby.neighbours
