"""Options of a run and of decoding: frozen dataclasses, checked when built, to and from a file.

Each field's help becomes the command line's. Field names are unique across the parts of a run, so
that flags and YAML files need no sections. Training configurations end where a run is put
together: components take plain arguments.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from textvae.checks import InputError, integer, number, one_of, refuse, switch

T = TypeVar("T")

OLDER = ("accumulate", "tensorboard")  # options that older runs have

# By name: what the names of a part's weights begin with.
FREEZABLE = {"encoder": "encoder|head", "decoder": "decoder", "embeddings": r"\w+\.embedding"}

LARGEST = 1e30  # of numbers: fp32, in which they are used, ends at 3e38


def option(default: T, help: str, within: str = "[1, inf)") -> T:
    """A dataclass field with a default, a help text, and the interval that a number lies in."""
    field: T = dataclasses.field(default=default, metadata={"help": help, "within": within})
    return field


class Options:
    """Base of the dataclasses below: checks all fields when built, by their types and intervals.

    Raises:
        InputError: With all faults at once.
    """

    def __post_init__(self) -> None:
        """Check all fields."""
        found: list[str] = []
        try:
            found.extend(self.faults())
        except TypeError:  # of fields beside each other, one of which is told already
            if not found:
                raise
        refuse(found)

    def faults(self) -> Iterator[str]:
        """What is wrong; a subclass adds what several fields must be to each other."""
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            within = field.metadata.get("within", "[1, inf)")
            try:
                _check(field.name, getattr(self, field.name), hints[field.name], within)
            except (TypeError, InputError) as fault:
                yield str(fault)


def _check(name: str, value: Any, hint: Any, within: str) -> None:
    kinds = get_args(hint)
    if NoneType in kinds:
        if value is None:
            return
        hint = next(kind for kind in kinds if kind is not NoneType)
    if get_origin(hint) is Literal:
        one_of(name, value, kinds)
    elif hint is bool:
        switch(name, value)
    elif hint is str and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r}")
    elif hint is str and "\0" in value:
        raise InputError(f"{name} must hold no null byte, got {value!r}")
    elif (kind := get_origin(hint)) in (Mapping, Sequence):
        if not isinstance(value, kind) or isinstance(value, str | bytes):
            raise TypeError(f"{name} must be a {kind.__name__.lower()}, got {value!r}")
        for id_ in value if kind is Sequence else ():
            integer(f"{name}: an id", id_, 0)
    elif hint is int:
        low, high = within[1:-1].split(", ")
        integer(name, value, int(low), None if high == "inf" else int(high))
    elif hint is float and LARGEST < number(name, value, within) < math.inf:
        raise InputError(f"{name} must be at most {LARGEST:g}, got {value}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Options):
    """Sizes and shape of the model."""

    latent_dim: int = option(32, "dimensions of z; 0: a language model, the floor", "[0, inf)")
    posterior: str = option(
        "gaussian", "how the encoder's summary becomes q(z|x): gaussian, batch-norm or delta"
    )
    batch_norm_gamma: float = option(0.6, "deviation of batch-normalised means", "[0, inf)")
    minimum_rate: float = option(0.2, "delta: least KL of every dimension, nats", "(0, 10]")
    embedding_dim: int = option(256, "width of the word embeddings")
    encoder_cell: Literal["gru", "lstm"] = option("gru", "recurrent cell of the encoder")
    encoder_hidden_size: int = option(256, "units per encoder layer and direction")
    encoder_num_layers: int = option(1, "encoder layers", "[1, 100]")
    bidirectional: bool = option(False, "encoder reads in both directions")
    pooling: Literal["last", "mean", "max"] = option("last", "encoder's summary of a sentence")
    decoder_cell: Literal["lstm", "gru"] = option("lstm", "recurrent cell of the decoder")
    decoder_hidden_size: int = option(256, "units per decoder layer")
    decoder_num_layers: int = option(1, "decoder layers", "[1, 100]")
    latent_to: Literal["state", "input", "both", "skip"] = option(
        "both", "how z enters the decoder; skip: at every layer and the output"
    )
    word_dropout: float = option(
        0.0, "share of the decoder's input words replaced by <unk> in training", "[0, 1]"
    )
    embedding_dropout: float = option(0.5, "dropout on the decoder's embedded inputs", "[0, 1]")
    output_dropout: float = option(0.5, "dropout on the decoder's outputs", "[0, 1]")
    locked_dropout: bool = option(
        False, "embedding and output dropout drop the same units at all tokens of a sentence"
    )
    recurrent_dropout: float = option(
        0.0, "share of the decoder's recurrent weights dropped for each batch", "[0, 1)"
    )
    tied_embeddings: bool = option(
        False, "decoder's output layer shares its embedding, by a projection if widths differ"
    )
    shared_embedding: bool = option(False, "encoder reads by the decoder's embedding")
    bag_of_words: float = option(
        0.0, "weight of a loss that has z tell the sentence's words (try 0.1)", "[0, inf)"
    )
    words_only: bool = option(False, "train by bag_of_words alone: z learns words, not their order")
    mmd: float = option(
        0.0, "weight of MMD² between codes and prior, nats per sentence (try 10)", "[0, inf)"
    )
    # How loud words are beside z, whose dimensions have variance 1, at the decoder's input.
    embedding_range: float = option(0.1, "embeddings start uniform in ± this", "(0, inf)")
    classes: Mapping[str, Mapping[str, int]] | None = option(None, "labels told: values, counts")

    @property
    def code_size(self) -> int:
        """Numbers that the decoder is given: one for each value of each label, and z."""
        return self.latent_dim + sum(map(len, (self.classes or {}).values()))

    def faults(self) -> Iterator[str]:
        """Words alone have their loss."""
        yield from super().faults()
        if self.words_only and not (self.bag_of_words and self.latent_dim):
            yield "words_only needs bag_of_words above 0 and a z, which it is the loss of"


@dataclass(frozen=True, kw_only=True)
class DataConfig(Options):
    """Where sentences come from and how they become token ids."""

    tokenizer: Literal["word", "text", "char", "bpe", "regex", "pre-split"] = option(
        "word", "what a token is: word splits at whitespace, text (raw) also splits punctuation off"
    )
    pattern: str | None = option(
        None, "of tokenizer regex: smiles, selfies, log, or an expression of your own"
    )
    lowercase: bool = option(False, "lower-case all text")
    tokenizer_file: str | None = option(None, "anyone's tokenizer.json, to take as it is")
    vocab_size: int | None = option(
        None, "keep this many tokens at most (default: all)", "[5, inf)"
    )
    min_count: int = option(1, "keep tokens seen at least this often")
    max_length: int | None = option(None, "longest sentence in tokens (default: no limit)")
    too_long: Literal["cut", "drop"] = option("cut", "what to do with longer sentences")
    text_field: str = option("text", "column or field of the sentence where there are several")
    label_field: str | None = option(None, "columns to keep as labels: NAME or NAME,NAME")
    condition_on: str | None = option(None, "labels that the model is told: NAME or NAME,NAME")
    valid_fraction: float = option(
        0.05, "share held out for validation where there is no split", "(0, 1)"
    )
    test_fraction: float = option(0.05, "share held out for test where there is no split", "(0, 1)")
    split_seed: int = option(0, "seed of held-out shares and of the embedded corpus", "[0, inf)")

    def faults(self) -> Iterator[str]:
        """A tokenizer's file leaves nothing to choose."""
        yield from super().faults()
        names, usual = ("tokenizer", "pattern", "lowercase", "vocab_size", "min_count"), type(self)
        given = [name for name in names if getattr(self, name) != getattr(usual, name)]
        if self.tokenizer_file is not None and given:
            yield f"tokenizer_file decides all of a tokenizer: leave out {', '.join(given)}"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Options):
    """Objective, optimisation and bookkeeping of one training."""

    annealer: Literal["constant", "linear", "sigmoid", "cosine", "cyclical", "control", "mdr"] = (
        option("linear", "schedule of the KL weight; control and mdr follow the KL itself")
    )
    warmup_epochs: float = option(5.0, "epochs until the schedule has its full weight", "[0, inf)")
    num_cycles: int = option(4, "cycles of the cyclical schedule within the warm-up")
    cycle_ratio: float = option(0.5, "rising share of each cycle", "(0, 1]")
    max_beta: float = option(
        1.0, "full KL weight; evaluation is at 1 whatever this says", "[0, inf)"
    )
    start_beta: float = option(
        0.0, "KL weight from which schedules rise (of no effect in control and mdr)", "[0, inf)"
    )
    hold_epochs: float = option(0.0, "epochs at start_beta before the rise", "[0, inf)")
    sigmoid_k: float = option(10.0, "how steep the sigmoid schedule is", "[1e-6, inf)")
    cycle_shape: Literal["linear", "cosine", "sigmoid"] = option("linear", "rise of each cycle")
    target_rate: float = option(5.0, "KL that control and mdr hold, nats", "[0, inf)")
    free_bits: float = option(
        0.0,
        "floor under the KL, nats: per dimension, or per sentence for total and target",
        "[0, inf)",
    )
    free_bits_kind: Literal["batch", "max", "mask", "total", "target"] = option(
        "batch", "floor under each dimension's batch mean, each KL (max, mask) or all; or a target"
    )

    importance_samples: int = option(
        1, "codes of each sentence in training; of several the importance-weighted bound"
    )
    encoder_follows: Literal["bound", "elbo"] = option(
        "bound", "what trains the encoder where there are several codes: that bound, or the ELBO"
    )
    word_dropout_epochs: float = option(
        0.0, "epochs over which word dropout falls to 0; 0: it stays", "[0, inf)"
    )
    aggressive_updates: int = option(
        0,
        "updates of the encoder alone before a step, until MI stops rising (paper: 100)",
        "[0, inf)",
    )

    average_epochs: float = option(
        0.0,
        "judge and keep a running mean of the weights, over about so many epochs; 0: none",
        "[0, inf)",
    )

    words_epochs: int = option(
        0,
        "epochs as an autoencoder of bags of words first, of which the encoder is kept",
        "[0, inf)",
    )
    autoencoder_epochs: int = option(
        0, "epochs as an autoencoder first, of which the encoder is kept", "[0, inf)"
    )
    language_model_epochs: int = option(
        0, "epochs as a language model first, of which the decoder is kept", "[0, inf)"
    )
    init_from: str | None = option(
        None, "run or hub id whose model and vocabulary to begin with; new words join them"
    )
    freeze: str | None = option(
        None, f"parts of it to keep as they are: {', '.join(FREEZABLE)}, or several, NAME,NAME"
    )

    optimizer: Literal["adam", "adamw", "sgd"] = option("adam", "optimizer")
    lr: float = option(1e-3, "learning rate at the start", "(0, inf)")
    momentum: float = option(0.0, "momentum of SGD", "[0, inf)")
    weight_decay: float = option(0.0, "weight decay", "[0, inf)")
    clip_norm: float = option(5.0, "largest gradient norm", "(0, inf]")
    batch_size: int = option(32, "sentences per batch, of all processes together")
    max_tokens: int | None = option(None, "tokens per batch, padding counted, instead of sentences")
    max_scores: int = option(
        2**27, "scores (tokens times vocabulary) held at a time; above it each is computed twice"
    )

    max_epochs: int = option(20, "epochs at most")
    max_steps: int | None = option(None, "optimizer steps at most (default: no limit)")
    lr_decay: float = option(0.5, "factor on the learning rate at a plateau", "(0, 1)")
    lr_patience: int = option(
        2, "worse epochs that are waited out; the next one decays the learning rate", "[0, inf)"
    )
    lr_threshold: float = option(
        0.0, "share of −ELBO that an epoch must gain to be better (try 0.0005: averages)", "[0, 1)"
    )
    max_lr_decays: int = option(
        5, "decays after which the learning rate counts as exhausted", "[0, inf)"
    )
    early_stopping: int | None = option(
        None, "epochs without a better ELBO before training stops (default: never)"
    )

    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "arithmetic of training; auto takes bf16 where the hardware multiplies it natively"
    )
    device: Literal["auto", "cpu"] = option("auto", "auto takes the best there is")
    seed: int = option(0, "seed of initialisation, order, dropout and noise", "[0, inf)")
    log_every: int = option(50, "steps between lines in metrics.jsonl")
    save_every: int = option(2000, "steps between saved training states, besides each epoch's end")
    tracker: Literal["none", "tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "swanlab"] = (
        option("none", "where to log, too; by accelerate, which needs its package")
    )

    def faults(self) -> Iterator[str]:
        """The importance-weighted bound has no KL to put a floor under; the ELBO has."""
        yield from super().faults()
        if not {*str(self.freeze or "encoder").split(",")} <= {*FREEZABLE}:
            yield f"freeze must be some of {', '.join(FREEZABLE)}, got {self.freeze!r}"
        elif self.freeze and self.init_from is None:
            yield "freeze needs init_from: untrained weights are not worth keeping"
        if self.importance_samples > 1 and self.encoder_follows == "bound" and self.free_bits:
            got = f"got {self.importance_samples} and {self.free_bits}"
            yield f"importance_samples with free_bits needs encoder_follows 'elbo', {got}"
        if self.importance_samples > 1 and self.free_bits and self.free_bits_kind == "mask":
            yield "importance_samples can't be several with free_bits_kind 'mask', which drops KL"

    def freezes(self, weights: str) -> bool:
        """Whether weights of that name stay as they are."""
        parts = self.freeze.split(",") if self.freeze else ()
        return any(re.match(rf"({FREEZABLE[part]})\.", weights) for part in parts)


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
    def from_flat(
        cls, data_source: str, options: Mapping[str, Any], *, model: type[ModelConfig] = ModelConfig
    ) -> Self:
        """Sort flat options, as flags and YAML files give them; tells all faults at once."""
        parts = {"model": model, "data": DataConfig, "training": TrainingConfig}
        names = {part: {f.name for f in dataclasses.fields(c)} for part, c in parts.items()}
        unknown = sorted(set(options) - (known := set().union(*names.values())))
        near = {each for name in unknown for each in get_close_matches(name, known, 1)}
        meant = f" (did you mean {', '.join(sorted(near))}?)" if near else ""
        faults = [f"unknown options: {', '.join(unknown)}{meant}"] if unknown else []
        chosen: dict[str, Any] = {}
        for part, config in parts.items():
            try:
                chosen[part] = config(**{k: v for k, v in options.items() if k in names[part]})
            except InputError as error:
                faults.append(str(error))
        refuse(faults)
        return cls(data_source=data_source, **chosen)

    def flat(self) -> dict[str, Any]:
        """The options of all parts in one dictionary: the inverse of `from_flat`."""
        parts = (self.model, self.data, self.training)
        return {k: v for part in parts for k, v in dataclasses.asdict(part).items()}

    @classmethod
    def from_dict(cls, run: Mapping[str, Any], *, model: type[ModelConfig] = ModelConfig) -> Self:
        """The inverse of `to_dict`; unknown and missing entries are an `InputError`."""
        parts = ("model", "data", "training")
        kinds = {"data": dict, "data_source": str, "model": dict, "training": dict}
        if missing := [name for name, kind in kinds.items() if not isinstance(run.get(name), kind)]:
            raise InputError(f"missing in the configuration: {', '.join(missing)}")
        options = {k: v for part in parts for k, v in run[part].items() if k not in OLDER}
        return cls.from_flat(run["data_source"], options, model=model)


STRATEGIES = ("greedy", "sample", "beam")
MAX_LENGTH = 200
NUM_BEAMS = 5

ONLY_FOR = {
    **dict.fromkeys(("temperature", "top_k", "top_p", "typical_p"), "sample"),
    **dict.fromkeys(("num_beams", "length_penalty"), "beam"),
}
"""Options of one strategy: with another they are refused, unless they have no effect."""


@dataclass(frozen=True, kw_only=True)
class Decoding(Options):
    """How sentences are made of latent codes: the options of `decode` and of all that decodes.

    `dataclasses.fields(Decoding)` holds each one's help. The same `seed` gives the same sentences,
    whatever the batch size.

    Raises:
        InputError: If options are outside their ranges; all faults are named at once.
    """

    strategy: Literal["greedy", "sample", "beam"] = option(
        "greedy", "greedy, sample (draws each token) or beam (searches)"
    )
    temperature: float = option(
        1.0, "sample: below 1 keeps to likely tokens, above 1 strays", "(0, inf)"
    )
    top_k: int | None = option(None, "sample: among so many likeliest tokens")
    top_p: float | None = option(
        None, "sample: among the likeliest tokens of this probability in all", "(0, 1]"
    )
    typical_p: float | None = option(
        None, "sample: the same among the tokens of most typical information", "(0, 1]"
    )
    num_beams: int | None = option(None, f"beam: width of the search, {NUM_BEAMS} if not given")
    length_penalty: float = option(
        0.0, "beam: ranks by log p / tokens ** this, EOS counted; 1 favours longer", "[0, 50]"
    )
    min_length: int = option(0, "fewest tokens of a sentence", "[0, inf)")
    max_length: int = option(MAX_LENGTH, "most tokens of a sentence; a longer one is cut")
    forbidden: Sequence[int] = option((), "ids of tokens that must not come")
    allow_unknown: bool = option(True, "whether <unk> may come")
    label: str | None = option(None, "labels that the model is told: NAME=VALUE[,NAME=VALUE]")
    seed: int = option(0, "of draws: the same seed, the same sentences", "[0, inf)")

    def faults(self) -> Iterator[str]:
        """An option that would do nothing is a fault, too."""
        for name, strategy in ONLY_FOR.items():
            default = type(self).__dataclass_fields__[name].default
            if strategy != self.strategy in STRATEGIES and getattr(self, name) != default:
                got = f"got strategy {self.strategy!r}"
                yield f"{name} is an option of strategy {strategy!r} only, {got}"
        yield from super().faults()
        if self.min_length > self.max_length >= 1:
            allowed = f"at most max_length ({self.max_length})"
            yield f"min_length must be {allowed}, got {self.min_length}"

    @property
    def beams(self) -> int:
        """Width of the search: `num_beams` or its default; 1 without a search."""
        if self.strategy != "beam":
            return 1
        return NUM_BEAMS if self.num_beams is None else self.num_beams
