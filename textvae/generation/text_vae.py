"""A model that reads and writes."""

from __future__ import annotations

from textvae.generation import decoding, distances, texts
from textvae.model import SentenceVAE


class TextVAE(SentenceVAE):
    """A `SentenceVAE` that reads and writes text.

    Methods are the functions of the same name in `textvae.generation`; `encode_texts` is `encode`.
    """

    encode_texts = texts.encode
    prior_codes = texts.prior_codes
    aggregate_codes = texts.aggregate_codes
    posterior_codes = texts.posterior_codes
    jittered_codes = texts.jittered_codes
    path_codes = texts.path_codes
    traversal_codes = texts.traversal_codes
    analogy_codes = texts.analogy_codes
    attribute_vector = texts.attribute_vector
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
