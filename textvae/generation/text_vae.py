"""`TextVAE`: a model with the functions of this room as methods."""

from __future__ import annotations

from textvae.generation import codes, decoding, distances, texts
from textvae.model import SentenceVAE


class TextVAE(SentenceVAE):
    """A `SentenceVAE` that reads and writes text.

        >>> model = TextVAE.from_pretrained("runs/grammar-1")           # doctest: +SKIP
        >>> model.interpolate("prices fell", "prices rose", steps=7)    # doctest: +SKIP

    Every method is the function of the same name in `textvae.generation`, called on this model.
    Only `encode_texts` has another: `encode` is already the one of a batch.
    """

    encode_texts = codes.encode
    prior_codes = codes.prior_codes
    aggregate_codes = codes.aggregate_codes
    posterior_codes = codes.posterior_codes
    jittered_codes = codes.jittered_codes
    path_codes = codes.path_codes
    traversal_codes = codes.traversal_codes
    analogy_codes = codes.analogy_codes
    attribute_vector = codes.attribute_vector
    decode = decoding.decode
    generate_text = decoding.generate_text
    sample = texts.sample
    reconstruct = texts.reconstruct
    jitter = texts.jitter
    interpolate = texts.interpolate
    traverse = texts.traverse
    analogy = texts.analogy
    shift = texts.shift
    neighbours = distances.neighbours
