"""textvae: text VAEs with autoregressive LSTM/GRU decoders.

Train them, see posterior collapse, cure it. The names below are the public ones; each is loaded
when first used, so that `from textvae import annealers` costs milliseconds and no torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "batches": "Batch BatchLoader",
    "config": "DataConfig ModelConfig RunConfig TrainingConfig",
    "corpus": "Corpus load_corpus",
    "diagnostics": "evaluate",
    "generation": "TextVAE analogy decode encode interpolate jitter neighbours reconstruct sample"
    " traverse",
    "model": "Posterior SentenceVAE",
    "tokenizer": "Tokenizer",
    "training": "Trainer",
}
_HOMES = {name: f"textvae.{room}" for room, names in _PUBLIC.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
