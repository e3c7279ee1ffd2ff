"""What may be trained before a run's own training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textvae.config import TrainingConfig
from textvae.files import find_pretrained, read_config


@dataclass(frozen=True)
class Phase:
    """A training whose weights a run begins with."""

    name: str  # of its directory within the run's
    # Which weights and buffers are taken over, by their names in `state_dict`.
    keeps: Callable[[str], bool] = lambda weights: True
    options: Mapping[str, Any] = field(default_factory=dict)  # what differs from the run's own
    run: str | Path | None = None  # a trained run to take weights from, in place of training one


_AUTOENCODER = {
    **{"annealer": "constant", "max_beta": 0.0, "free_bits": 0.0, "average_epochs": 0.0},
    **{"optimizer": "adam", "lr": 1e-3},  # finds out sooner than SGD how to say things by z
}
# What an option asks for: `words_epochs`, `autoencoder_epochs`, `language_model_epochs`.
PRETRAINING = (
    Phase(
        "words",
        keeps=lambda weights: weights.startswith(("encoder.", "head.")),
        options={**_AUTOENCODER, "bag_of_words": 1.0, "words_only": True, "importance_samples": 1},
    ),
    Phase(
        "autoencoder",
        keeps=lambda weights: not weights.startswith("decoder."),
        # Its decoder will be thrown away, so it may be blinded: every second word must come by z.
        options={**_AUTOENCODER, "word_dropout": 0.5, "word_dropout_epochs": 0.0},
    ),
    Phase(
        "language_model",
        keeps=lambda weights: weights.startswith("decoder."),
        options={"latent_dim": 0},
    ),
)


def inherited(run: str) -> dict[str, Any]:
    """What a warm start takes from a run or hub id: the model's options, and how text is split."""
    TrainingConfig(init_from=run)  # an InputError for what is no string
    config = read_config(find_pretrained(run), "model")
    data = config.get("run", {}).get("data", {})
    kept = ("tokenizer", "pattern", "lowercase", "condition_on")
    own = {name: data[name] for name in kept if name in data}
    own |= {f"{phase.name}_epochs": 0 for phase in PRETRAINING}  # it has been trained already
    own |= {name: value for name, value in config["model"].items() if name != "vocab_size"}
    return {**own, "tokenizer_file": None}


# Options that may be given anew when a run is resumed: the others would change its result.
EXTENDABLE = ("max_epochs", "max_steps")
