"""How good sentences are, from the sentences alone: nothing here knows a model.

Reconstructions: `reconstruction_figures` (BLEU and exact matches). Samples, or real sentences for
comparison: `text_figures`, which gathers `self_bleu`, `distinct`, `duplicates`, `novelty`,
`novel_ngrams` and `length_distance`. Sentences of the embedded corpus: `accepted_share` and
`factor_path`.

A word is what white space separates, whatever the tokens of the model are, so that figures of
models of words, characters and pieces of words can be compared.
"""

from textvae.quality.bleu import (
    ReconstructionFigures,
    bleu,
    exact_match,
    reconstruction_figures,
    self_bleu,
)
from textvae.quality.grammatical import PathStep, accepted_share, factor_path
from textvae.quality.texts import (
    TextFigures,
    distinct,
    duplicates,
    length_distance,
    novel_ngrams,
    novelty,
    text_figures,
)

__all__ = [
    "PathStep",
    "ReconstructionFigures",
    "TextFigures",
    "accepted_share",
    "bleu",
    "distinct",
    "duplicates",
    "exact_match",
    "factor_path",
    "length_distance",
    "novel_ngrams",
    "novelty",
    "reconstruction_figures",
    "self_bleu",
    "text_figures",
]
