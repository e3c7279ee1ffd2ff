"""Configurations known to work, and the phases that may come before a run's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["EXTENDABLE", "PRETRAINING", "RECIPES", "source_and_recipe"]

PRETRAINING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "autoencoder": MappingProxyType(
            {
                "annealer": "constant",
                "max_beta": 0.0,
                "free_bits": 0.0,
                # Its decoder will be thrown away, so it may be blinded: every second word has to
                # come through z. Adam finds out how sooner than SGD.
                "word_dropout": 0.5,
                "optimizer": "adam",
                "lr": 1e-3,
            }
        ),
        "language_model": MappingProxyType({"latent_dim": 0}),
    }
)
"""Phases that may come first: their options, over those of the run."""

EXTENDABLE = ("max_epochs", "max_steps")
"""Options that may be given anew when a run is resumed: the others would change its result."""

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ptb": MappingProxyType(
            {
                # An informed encoder and a good language model first, free bits (2.6 nats over
                # 32 dimensions) to keep them on speaking terms, and plain SGD halved on plateaus.
                "embedding_dropout": 0.4,
                "output_dropout": 0.4,
                "autoencoder_epochs": 2,
                "language_model_epochs": 18,
                "annealer": "sigmoid",
                "warmup_epochs": 5.0,
                "free_bits": 0.08,
                "optimizer": "sgd",
                "lr": 1.0,
                "lr_patience": 1,
                "max_lr_decays": 4,
                "max_epochs": 60,
            }
        ),
        # The case that annealing was made for: with the full KL weight from the first step
        # (annealer constant) the posterior collapses for good. Three in ten of the decoder's words
        # are dropped, so that a code which repeats what they said is worth its KL; a decoder that
        # has learned to do without one never finds that out.
        "grammar": MappingProxyType(
            {
                "latent_dim": 16,
                "embedding_dim": 64,
                "encoder_hidden_size": 64,
                "decoder_hidden_size": 128,
                "embedding_range": 1.7,
                "embedding_dropout": 0.0,
                "output_dropout": 0.0,
                "word_dropout": 0.3,
                "annealer": "linear",
                "warmup_epochs": 5.0,
                "max_epochs": 10,
            }
        ),
    }
)
"""Options that differ from the defaults, by the corpus they were found to be good for."""


def source_and_recipe(data_dir: str | None) -> tuple[str, str, Mapping[str, Any]]:
    """What a study runs on: the embedded corpus, Penn Treebank, or any other.

    Args:
        data_dir: Directory of Penn Treebank's files, or whatever else `load_corpus` takes; None
            for the embedded corpus.

    Returns:
        What to call it, what `load_corpus` finds it by, and the options known to be good for it;
        the defaults, where none are known.
    """
    if data_dir is None or data_dir == "grammar":
        return "grammar", "grammar", RECIPES["grammar"]
    if data_dir == "ptb" or data_dir.startswith("ptb:"):
        return "ptb", data_dir, RECIPES["ptb"]
    path = Path(data_dir).expanduser()
    if (path / "ptb.train.txt").is_file():
        return "ptb", f"ptb:{path}", RECIPES["ptb"]
    return path.resolve().stem, data_dir, {}
