"""Configuration of a run: frozen dataclasses, checked when built, to and from a file.

Offers `ModelConfig`, `DataConfig`, `TrainingConfig` and `RunConfig`, which holds one of each.
Each field's `help` becomes the command line's help. Field names are unique across the three, so
that flags and YAML files need no sections. Configs end where a run is put together: components
take plain arguments.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

__all__ = ["DataConfig", "ModelConfig", "RunConfig", "TrainingConfig"]

T = TypeVar("T")


def option(default: T, help: str) -> T:
    """A dataclass field with a default and a help text."""
    field: T = dataclasses.field(default=default, metadata={"help": help})
    return field


def _below(config: Any, *least: tuple[str, float]) -> list[str]:
    """What is to be said of values below their least, or without bound."""
    faults = []
    for name, low in least:
        value = getattr(config, name)
        if value is not None and not value >= low:
            faults.append(f"{name} must be at least {low}, got {value}")
        elif value == math.inf:
            faults.append(f"{name} must be finite, got {value}")
    return faults


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ValueError("; ".join(faults))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and shape of the model; `SentenceVAE` checks them."""

    latent_dim: int = option(32, "dimensions of z; 0 trains a language model, the floor")
    embedding_dim: int = option(256, "width of the word embeddings")
    encoder_cell: Literal["gru", "lstm"] = option("gru", "recurrent cell of the encoder")
    encoder_hidden_size: int = option(256, "units per encoder layer and direction")
    encoder_num_layers: int = option(1, "encoder layers")
    bidirectional: bool = option(False, "encoder reads in both directions")
    pooling: Literal["last", "mean", "max"] = option("last", "encoder's summary of a sentence")
    decoder_cell: Literal["lstm", "gru"] = option("lstm", "recurrent cell of the decoder")
    decoder_hidden_size: int = option(256, "units per decoder layer")
    decoder_num_layers: int = option(1, "decoder layers")
    latent_to: Literal["state", "input", "both"] = option("both", "how z enters the decoder")
    word_dropout: float = option(
        0.0, "share of the decoder's input words replaced by <unk> in training"
    )
    embedding_dropout: float = option(0.5, "dropout on the decoder's embedded inputs")
    output_dropout: float = option(0.5, "dropout on the decoder's outputs")
    tied_embeddings: bool = option(False, "decoder's output layer shares its embedding")
    embedding_range: float = option(0.1, "embeddings start uniform in ± this")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where sentences come from and how they become token ids."""

    tokenizer: Literal["word", "char", "bpe"] = option("word", "what a token is")
    vocab_size: int | None = option(None, "keep this many tokens at most (default: all)")
    min_count: int = option(1, "keep tokens seen at least this often")
    max_length: int | None = option(None, "longest sentence in tokens (default: no limit)")
    too_long: Literal["cut", "drop"] = option("cut", "what to do with longer sentences")
    text_field: str = option("text", "field of the sentence in JSON lines and hub data sets")
    valid_fraction: float = option(0.05, "share held out for validation where there is no split")
    test_fraction: float = option(0.05, "share held out for test where there is no split")
    split_seed: int = option(0, "seed of held-out shares and of the embedded corpus")

    def __post_init__(self) -> None:
        """Check ranges."""
        faults = _below(self, ("min_count", 1), ("vocab_size", 5), ("max_length", 1))
        held_out = self.valid_fraction + self.test_fraction
        if not (self.valid_fraction > 0 and self.test_fraction > 0 and held_out < 1):
            faults.append(
                "valid_fraction and test_fraction must be above 0 and add up to less than 1, got "
                f"{self.valid_fraction} and {self.test_fraction}"
            )
        _refuse(faults)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Objective, optimisation and bookkeeping of one training."""

    annealer: Literal["constant", "linear", "sigmoid", "cosine", "cyclical"] = option(
        "linear", "schedule of the KL weight"
    )
    warmup_epochs: float = option(5.0, "epochs until the schedule holds its full weight")
    num_cycles: int = option(4, "cycles of the cyclical schedule within the warm-up")
    cycle_ratio: float = option(0.5, "rising share of each cycle")
    max_beta: float = option(1.0, "full KL weight; evaluation is at 1 whatever this says")
    free_bits: float = option(
        0.0, "floor under the KL, nats: per dimension, or per sentence for total and target"
    )
    free_bits_kind: Literal["batch", "max", "mask", "total", "target"] = option(
        "batch", "floor under each dimension's batch mean, each KL (max, mask) or all; or a target"
    )

    autoencoder_epochs: int = option(
        0, "epochs as an autoencoder first, of which the encoder is kept"
    )
    language_model_epochs: int = option(
        0, "epochs as a language model first, of which the decoder is kept"
    )

    optimizer: Literal["adam", "adamw", "sgd"] = option("adam", "optimizer")
    lr: float = option(1e-3, "learning rate at the start")
    momentum: float = option(0.0, "momentum of SGD")
    weight_decay: float = option(0.0, "weight decay")
    clip_norm: float = option(5.0, "largest gradient norm")
    batch_size: int = option(32, "sentences per batch, of all processes together")
    max_tokens: int | None = option(None, "tokens per batch, padding counted, instead of sentences")
    accumulate: int = option(1, "micro-batches a batch is cut into, to save memory")
    max_scores: int = option(
        2**27, "scores (tokens times vocabulary) held at a time; above it each is computed twice"
    )

    max_epochs: int = option(20, "epochs at most")
    max_steps: int | None = option(None, "optimizer steps at most (default: no limit)")
    lr_decay: float = option(0.5, "factor on the learning rate at a plateau")
    lr_patience: int = option(2, "epochs without a better ELBO before the learning rate decays")
    max_lr_decays: int = option(5, "decays after which the learning rate counts as exhausted")
    early_stopping: int | None = option(
        None, "epochs without a better ELBO before training stops (default: never)"
    )

    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "arithmetic of training; auto takes bf16 where the hardware multiplies it natively"
    )
    device: Literal["auto", "cpu"] = option("auto", "auto takes the best there is")
    seed: int = option(0, "seed of initialisation, order, dropout and noise")
    log_every: int = option(50, "steps between lines in metrics.jsonl")
    save_every: int = option(2000, "steps between saved training states, besides each epoch's end")
    tensorboard: bool = option(False, "also write TensorBoard events (extra: track)")

    def __post_init__(self) -> None:
        """Check ranges."""
        faults = _below(
            self,
            ("warmup_epochs", 0),
            ("num_cycles", 1),
            ("max_beta", 0),
            ("free_bits", 0),
            ("autoencoder_epochs", 0),
            ("language_model_epochs", 0),
            ("momentum", 0),
            ("weight_decay", 0),
            ("batch_size", 1),
            ("max_tokens", 1),
            ("accumulate", 1),
            ("max_scores", 1),
            ("max_epochs", 1),
            ("max_steps", 1),
            ("lr_patience", 0),
            ("max_lr_decays", 0),
            ("early_stopping", 1),
            ("log_every", 1),
            ("save_every", 1),
        )
        for name in ("lr", "clip_norm"):
            if not getattr(self, name) > 0:
                faults.append(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 < self.lr_decay < 1:
            faults.append(f"lr_decay must be between 0 and 1, got {self.lr_decay}")
        if not 0 < self.cycle_ratio <= 1:
            faults.append(f"cycle_ratio must be above 0 and at most 1, got {self.cycle_ratio}")
        _refuse(faults)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's result, and where its data was."""

    data_source: str
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, one section per part."""
        return dataclasses.asdict(self)

    @classmethod
    def from_flat(cls, data_source: str, options: dict[str, Any]) -> Self:
        """Sort flat options, as flags and YAML files give them, into the three parts.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        parts = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}
        names = {part: {f.name for f in dataclasses.fields(c)} for part, c in parts.items()}
        unknown = sorted(set(options) - set().union(*names.values()))
        if unknown:
            raise ValueError(f"unknown options: {', '.join(unknown)}")
        chosen: dict[str, Any] = {}
        faults: list[str] = []
        for part, config in parts.items():
            try:
                chosen[part] = config(**{k: v for k, v in options.items() if k in names[part]})
            except ValueError as error:
                faults.append(str(error))
        _refuse(faults)
        return cls(data_source=data_source, **chosen)

    def flat(self) -> dict[str, Any]:
        """The options of all parts in one dictionary: the inverse of `from_flat`."""
        parts: Sequence[Any] = (self.model, self.data, self.training)
        return {k: v for part in parts for k, v in dataclasses.asdict(part).items()}

    @classmethod
    def from_dict(cls, run: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If a section is missing, or an option is unknown or out of range.
        """
        missing = {"data_source", "model", "data", "training"} - set(run)
        if missing:
            raise ValueError(f"missing in the configuration: {', '.join(sorted(missing))}")
        options = {k: v for part in ("model", "data", "training") for k, v in run[part].items()}
        return cls.from_flat(run["data_source"], options)
