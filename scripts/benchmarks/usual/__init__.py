"""The usual loop, written here once, plainly, in the way public sentence-VAE code does it.

`decoding.py` decodes sentence by sentence; `training.py` holds the model and trains it on random
batches; `importance.py` measures importance-weighted NLL sentence by sentence.
"""

from benchmarks.usual.decoding import (
    Hypothesis,
    beam_one_at_a_time,
    drawn,
    likeliest,
    one_at_a_time,
)
from benchmarks.usual.importance import importance_nll_of_one
from benchmarks.usual.training import (
    PaddedBatch,
    UsualVAE,
    loss_terms,
    random_batches,
    train_on,
)

__all__ = [
    "Hypothesis",
    "PaddedBatch",
    "UsualVAE",
    "beam_one_at_a_time",
    "drawn",
    "importance_nll_of_one",
    "likeliest",
    "loss_terms",
    "one_at_a_time",
    "random_batches",
    "train_on",
]
