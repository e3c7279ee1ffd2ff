"""textvae: text VAEs with autoregressive LSTM/GRU decoders.

Train them, see posterior collapse, cure it. The names below are the public ones; each is loaded
when first used, so that `from textvae import annealers` costs milliseconds and no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Batch": "textvae.batches",
    "BatchLoader": "textvae.batches",
    "Corpus": "textvae.corpus",
    "Posterior": "textvae.model",
    "RunConfig": "textvae.config",
    "ModelConfig": "textvae.config",
    "DataConfig": "textvae.config",
    "TrainingConfig": "textvae.config",
    "SentenceVAE": "textvae.model",
    "TextVAE": "textvae.generation",
    "Tokenizer": "textvae.tokenizer",
    "Trainer": "textvae.training",
    "analogy": "textvae.generation",
    "decode": "textvae.generation",
    "encode": "textvae.generation",
    "evaluate": "textvae.diagnostics",
    "interpolate": "textvae.generation",
    "jitter": "textvae.generation",
    "load_corpus": "textvae.corpus",
    "neighbours": "textvae.generation",
    "reconstruct": "textvae.generation",
    "sample": "textvae.generation",
    "traverse": "textvae.generation",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
