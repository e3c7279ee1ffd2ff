"""From z to sentences and back: text in, text out (`sample`, `reconstruct`, `interpolate`, …).

Beneath are functions that make latent codes, and `decode`, which makes sentences of these and gives
their log p. `Decoding` has the options of all that decodes; `TextVAE` has all as methods.
"""

from textvae.config import MAX_LENGTH, NUM_BEAMS, STRATEGIES, Decoding
from textvae.generation.codes import (
    FITTED,
    MAX_FITTED,
    SOURCES,
    aggregate_codes,
    analogy_codes,
    attribute_vector,
    check_texts,
    encode,
    fitted_codes,
    fitted_mixture,
    jittered_codes,
    lerp,
    likeliest_labels,
    path_codes,
    posterior_codes,
    prior_codes,
    slerp,
    source_codes,
    traversal_codes,
)
from textvae.generation.completion import Completion, complete
from textvae.generation.decoding import Decoded, decode, generate_text
from textvae.generation.distances import METRICS, Neighbour, changes, latent_distances, neighbours
from textvae.generation.texts import (
    Shifted,
    TextVAE,
    analogy,
    direction,
    interpolate,
    jitter,
    reconstruct,
    sample,
    shift,
    traverse,
)
