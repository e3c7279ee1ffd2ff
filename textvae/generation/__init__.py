"""From z to sentences and back: text in, text out (`sample`, `reconstruct`, `interpolate`, …).

Beneath are functions that make latent codes, and `decode`, which makes sentences of these and gives
their log p. `Decoding` has the options of all that decodes; `TextVAE` has all as methods.
"""

from textvae.config import MAX_LENGTH, NUM_BEAMS, STRATEGIES, Decoding
from textvae.generation.completion import Completion, complete
from textvae.generation.decoding import Decoded, decode, generate_text
from textvae.generation.texts import (
    METRICS,
    SOURCES,
    Neighbour,
    Shifted,
    TextVAE,
    aggregate_codes,
    analogy,
    analogy_codes,
    attribute_vector,
    changes,
    check_texts,
    direction,
    encode,
    fitted_codes,
    interpolate,
    jitter,
    jittered_codes,
    latent_distances,
    lerp,
    likeliest_labels,
    neighbours,
    path_codes,
    posterior_codes,
    prior_codes,
    reconstruct,
    sample,
    shift,
    slerp,
    source_codes,
    traversal_codes,
    traverse,
)
