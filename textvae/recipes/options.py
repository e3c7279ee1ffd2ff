"""Options known to work, and what may be trained before a run's own training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Phase:
    """A training whose weights a run begins with."""

    name: str  # of its directory within the run's
    # Which weights and buffers are taken over, by their names in `state_dict`.
    keeps: Callable[[str], bool] = lambda weights: True
    options: Mapping[str, Any] = field(default_factory=dict)  # what differs from the run's own
    run: str | Path | None = None  # a trained run to take weights from, in place of training one


# What an option asks for: `autoencoder_epochs`, `language_model_epochs`.
PRETRAINING = (
    Phase(
        "autoencoder",
        keeps=lambda weights: not weights.startswith("decoder."),
        options={
            "annealer": "constant",
            "max_beta": 0.0,
            "free_bits": 0.0,
            # Its decoder will be thrown away, so it may be blinded: every second word has to
            # come through z. Adam finds out how sooner than SGD.
            "word_dropout": 0.5,
            "optimizer": "adam",
            "lr": 1e-3,
        },
    ),
    Phase(
        "language_model",
        keeps=lambda weights: weights.startswith("decoder."),
        options={"latent_dim": 0},
    ),
)

# Options that may be given anew when a run is resumed: the others would change its result.
EXTENDABLE = ("max_epochs", "max_steps")

# Options that differ from the defaults, by the corpus they were found to be good for.
RECIPES: dict[str, Mapping[str, Any]] = {
    # An informed encoder and a good language model first, free bits (2.6 nats over 32 dimensions)
    # so that neither is forgotten, and plain SGD halved on plateaus.
    "ptb": {
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
    },
    # The case that annealing was made for: with the full KL weight from the first step (annealer
    # constant) the posterior collapses for good. Three in ten of the decoder's words are dropped,
    # so that a code which repeats what they said is worth its KL; a decoder that has learned to
    # do without one never finds that out.
    "grammar": {
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
    },
}


def source_and_recipe(data_dir: str | None) -> tuple[str, str, Mapping[str, Any]]:
    """What a study runs on: its name, what `load_corpus` finds it by, and its recipe.

    `data_dir` is a directory of Penn Treebank's files, or whatever else `load_corpus` takes; None
    is the embedded corpus. Where no options are known to be good, the recipe is empty.
    """
    if data_dir in (None, "grammar"):
        return "grammar", "grammar", RECIPES["grammar"]
    path = Path(data_dir).expanduser()
    source = f"ptb:{path}" if (path / "ptb.train.txt").is_file() else data_dir
    if source.split(":")[0] == "ptb":
        return "ptb", source, RECIPES["ptb"]
    return path.resolve().stem, data_dir, {}
