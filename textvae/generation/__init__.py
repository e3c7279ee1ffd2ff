"""From z to sentences and back.

Text in, text out: `sample`, `reconstruct`, `interpolate`, `traverse`, `jitter`, `analogy`,
`shift`, `neighbours`. Beneath: functions that make latent codes, and `decode`, which makes
sentences of codes and gives their log p too. `Decoding` has the options of decoding, which all
that decodes takes by name. `TextVAE` is a model with all of these as methods.
"""

from textvae.config import MAX_LENGTH, NUM_BEAMS, STRATEGIES, Decoding
from textvae.generation.codes import (
    METHODS,
    aggregate_codes,
    analogy_codes,
    attribute_vector,
    check_texts,
    encode,
    jittered_codes,
    lerp,
    path_codes,
    posterior_codes,
    prior_codes,
    slerp,
    traversal_codes,
)
from textvae.generation.decoding import Decoded, decode, generate_text
from textvae.generation.distances import METRICS, Neighbour, changes, latent_distances, neighbours
from textvae.generation.text_vae import TextVAE
from textvae.generation.texts import (
    SOURCES,
    analogy,
    interpolate,
    jitter,
    reconstruct,
    sample,
    shift,
    traverse,
)

__all__ = [
    "MAX_LENGTH",
    "METHODS",
    "METRICS",
    "NUM_BEAMS",
    "SOURCES",
    "STRATEGIES",
    "Decoded",
    "Decoding",
    "Neighbour",
    "TextVAE",
    "aggregate_codes",
    "analogy",
    "analogy_codes",
    "attribute_vector",
    "changes",
    "check_texts",
    "decode",
    "encode",
    "generate_text",
    "interpolate",
    "jitter",
    "jittered_codes",
    "latent_distances",
    "lerp",
    "neighbours",
    "path_codes",
    "posterior_codes",
    "prior_codes",
    "reconstruct",
    "sample",
    "shift",
    "slerp",
    "traversal_codes",
    "traverse",
]
