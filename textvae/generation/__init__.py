"""From z to sentences and back.

Text in, text out: `sample`, `reconstruct`, `interpolate`, `interpolation`, `traverse`, `jitter`,
`analogy`, `attribute_vector` and `shift`, `neighbours`. On tensors beneath: `encode`, `decode`,
`decode_scored`, `decode_n_best`, `lerp`, `slerp`, `latent_distances`. `Decoding` holds the
options of decoding, which all of them take by name. `TextVAE` is a model with all of these as
methods.
"""

from textvae.generation.decoding import decode, decode_n_best, decode_scored
from textvae.generation.directions import analogy, attribute_vector, shift
from textvae.generation.nearby import METRICS, Neighbour, latent_distances, neighbours
from textvae.generation.options import MAX_LENGTH, NUM_BEAMS, STRATEGIES, Decoding
from textvae.generation.paths import (
    METHODS,
    Path,
    interpolate,
    interpolation,
    lerp,
    slerp,
    traverse,
)
from textvae.generation.text_vae import TextVAE
from textvae.generation.texts import (
    SOURCES,
    check_texts,
    encode,
    jitter,
    reconstruct,
    sample,
)
from textvae.generation.walk import Decoded

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
    "Path",
    "TextVAE",
    "analogy",
    "attribute_vector",
    "check_texts",
    "decode",
    "decode_n_best",
    "decode_scored",
    "encode",
    "interpolate",
    "interpolation",
    "jitter",
    "latent_distances",
    "lerp",
    "neighbours",
    "reconstruct",
    "sample",
    "shift",
    "slerp",
    "traverse",
]
