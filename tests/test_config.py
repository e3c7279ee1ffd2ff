import dataclasses
import json
import math
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.checks import InputError
from textvae.config import DataConfig, Decoding, ModelConfig, RunConfig, TrainingConfig

PARTS = (ModelConfig, DataConfig, TrainingConfig)
FIELDS = [(config, field) for config in PARTS for field in dataclasses.fields(config)]
COUNTS = (
    *("embedding_dim", "encoder_hidden_size", "decoder_hidden_size", "min_count"),
    *("max_length", "num_cycles", "batch_size", "max_tokens"),
    *("max_epochs", "max_steps", "early_stopping", "log_every", "save_every"),
)
LAYERS = ("encoder_num_layers", "decoder_num_layers")
AGREEING = ("tokenizer_file", "importance_samples", "freeze", "words_only")
FROM_0 = (
    *("latent_dim", "aggressive_updates", "lr_patience", "max_lr_decays", "split_seed", "seed"),
    *("autoencoder_epochs", "language_model_epochs", "words_epochs"),
)
REAL = {  # an interval: its fields, each with a value outside
    "[0, inf)": {"warmup_epochs": math.inf, "max_beta": -1.0, "free_bits": -1.0, "momentum": -0.1}
    | {"weight_decay": -1.0, "bag_of_words": -0.1, "batch_norm_gamma": -0.5},
    "(0, inf)": {"lr": 0.0, "embedding_range": 0.0},
    "(0, inf]": {"clip_norm": 0.0},
    "[0, 1]": {"word_dropout": 1.5, "embedding_dropout": -0.1, "output_dropout": 1.1},
    "(0, 1]": {"cycle_ratio": 0.0},
    "(0, 1)": {"lr_decay": 1.0, "valid_fraction": 0.0, "test_fraction": 1.0},
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder_cell", "rnn", "must be one of gru, lstm, got 'rnn'"),
        ("decoder_cell", "GRU", "must be one of lstm, gru, got 'GRU'"),
        ("pooling", "sum", "must be one of last, mean, max, got 'sum'"),
        ("latent_to", "none", "must be one of state, input, both, skip, got 'none'"),
        ("vocab_size", 4, "must be at least 5, got 4"),  # four are special
        ("tokenizer_file", "a\0b", r"must hold no null byte, got 'a\\x00b'"),
        ("classes", [1], r"must be a mapping, got \[1\]"),
        *((name, 0, "must be at least 1, got 0") for name in COUNTS),
        *((name, 0, "must be at least 1 and at most 100, got 0") for name in LAYERS),
        ("seed", 2**63, "must be at most 9007199254740992, got 9223372036854775808"),
        ("max_length", 10**24, f"must be at most 9007199254740992, got {10**24}"),
        *((name, 1e308, r"must be at most 1e\+30, got 1e\+308") for name in ("free_bits", "lr")),
        *((name, -1, "must be at least 0, got -1") for name in FROM_0),
        *(
            (name, value, f"must be in {re.escape(within)}, got {value}")
            for within, outside in REAL.items()
            for name in outside
            for value in (outside[name], math.nan)
        ),
    ],
)
def test_ranges(name, value, message):
    with pytest.raises(InputError, match=f"^{name} {message}$"):
        RunConfig.from_flat("my.txt", {name: value})


@pytest.mark.parametrize(
    "edges",
    [
        {"vocab_size": 5, "min_count": 1, "max_length": 1, "valid_fraction": 0.5},
        {"warmup_epochs": 0.0, "num_cycles": 1, "cycle_ratio": 1.0, "max_beta": 0.0},
        {"max_lr_decays": 0, "lr_patience": 0, "early_stopping": 1, "lr_decay": 0.999},
        {"max_epochs": 1, "max_steps": 1, "batch_size": 1, "max_tokens": 1, "log_every": 1},
    ],
)
def test_the_edges_of_the_ranges_are_allowed(edges):
    flat = RunConfig.from_flat("my.txt", edges).flat()
    assert {name: flat[name] for name in edges} == edges


def test_the_faults_of_all_parts_are_named_at_once():
    with pytest.raises(InputError, match="min_count must be at least 1") as caught:
        RunConfig.from_flat("my.txt", {"lr": -1.0, "min_count": 0, "max_steps": 0})
    assert str(caught.value).split("; ") == [
        "min_count must be at least 1, got 0",
        "lr must be in (0, inf), got -1.0",
        "max_steps must be at least 1, got 0",
    ]
    with pytest.raises(InputError, match="decides all of a tokenizer: leave out lowercase, min_co"):
        DataConfig(tokenizer_file="mine.json", min_count=2, lowercase=True)
    with pytest.raises(ValueError, match="with free_bits needs encoder_follows 'elbo', got 5 and"):
        TrainingConfig(importance_samples=5, free_bits=0.1)
    dropping = {"free_bits": 0.1, "free_bits_kind": "mask", "encoder_follows": "elbo"}
    with pytest.raises(ValueError, match="can't be several with free_bits_kind 'mask'"):
        TrainingConfig(importance_samples=5, **dropping)


def test_a_wrong_type_beside_other_fields_is_told():
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (Decoding, {"min_length": "3"}, "min_length"),
        (Decoding, {"max_length": None}, "max_length"),
        (TrainingConfig, {"importance_samples": [], "lr": -1.0}, "importance_samples"),
    ]
    for config, options, name in wrong:
        with pytest.raises(InputError, match=f"{name} must be an integer, got "):
            config(**options)


def test_unknown_options_and_missing_sections_are_named():
    with pytest.raises(InputError, match=r"options: bata, latent_dims \(did you mean latent_dim\?"):
        RunConfig.from_flat("my.txt", {"latent_dims": 3, "lr": 1.0, "bata": 1})
    run = RunConfig(data_source="my.txt").to_dict()
    for options, message in ({"lr": 0.0}, "lr must be in"), ({"rate": 1}, "unknown options: rate"):
        with pytest.raises(InputError, match=message):
            RunConfig.from_dict({**run, "training": options})
    del run["model"], run["data_source"]
    with pytest.raises(InputError, match="missing in the configuration: data_source, model"):
        RunConfig.from_dict(run)


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Values that are allowed for a field; wide of the limits."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if isinstance(hint, types.UnionType):
        return st.one_of(*map(of_type, get_args(hint)))
    return {
        bool: st.booleans(),
        int: st.integers(5, 10**9),
        float: st.floats(0.01, 0.4),
        str: st.text(st.characters(exclude_characters="\0")),
        type(None): st.none(),
        Mapping[str, Mapping[str, int]]: st.dictionaries(st.text(), st.just({"a": 2, "b": 1})),
    }[hint]


options = st.fixed_dictionaries(
    {},
    optional={
        field.name: of_type(get_type_hints(config)[field.name])
        for config, field in FIELDS
        # The first ones need others to agree, the rest have a limit.
        if field.name not in (*AGREEING, *LAYERS)
    },
)


@given(st.text(), options)
def test_there_and_back_again(source, given_options):
    config = RunConfig.from_flat(source, given_options)
    flat = config.flat()
    assert {name: flat[name] for name in given_options} == given_options
    assert list(flat) == [field.name for _, field in FIELDS]  # unique over all parts
    assert RunConfig.from_flat(source, flat) == config
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=[field.name for _, field in FIELDS])
def test_every_field_has_help_and_a_default_of_its_type(config, field):
    assert len(field.metadata["help"]) > 5
    hint = get_type_hints(config)[field.name]
    allowed = get_args(hint) if get_origin(hint) is Literal else None
    kinds = tuple(get_origin(kind) or kind for kind in get_args(hint) or (hint,))
    assert field.default in allowed if allowed else isinstance(field.default, kinds)


def test_configs_are_frozen_and_by_keyword_only():
    for config in (*PARTS, RunConfig):
        with pytest.raises(TypeError):
            config(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig().lr = 2.0
