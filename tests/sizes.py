"""Options of runs that train in a moment, and the same for a command line."""

from typing import Any

TINY: dict[str, Any] = {
    **{"latent_dim": 2, "embedding_dim": 4, "encoder_hidden_size": 5, "decoder_hidden_size": 6},
    **{"batch_size": 8, "max_epochs": 1, "precision": "fp32", "device": "cpu"},
}
"""For tests of what is done with a run: no two sizes alike."""

SMALL: dict[str, Any] = {
    **{"latent_dim": 3, "embedding_dim": 6, "encoder_hidden_size": 8, "decoder_hidden_size": 8},
    **{"batch_size": 8, "max_epochs": 2, "warmup_epochs": 1.0, "log_every": 2},
    **{"precision": "fp32", "device": "cpu"},
}
"""For tests of the training: some epochs, and a weight that rises."""


def flags(options: dict[str, Any]) -> list[str]:
    """Options as a command that trains takes them, without a remedy."""
    given = {"recipe": "linear"} | options
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
