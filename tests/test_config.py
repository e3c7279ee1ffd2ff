"""Tests of `textvae.config`."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import DataConfig, ModelConfig, RunConfig, TrainingConfig

PARTS = (ModelConfig, DataConfig, TrainingConfig)
FIELDS = [(config, field) for config in PARTS for field in dataclasses.fields(config)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vocab_size", 4, "vocab_size must be at least 5, got 4"),  # four are special
        ("min_count", 0, "min_count must be at least 1, got 0"),
        ("max_length", 0, "max_length must be at least 1, got 0"),
        ("valid_fraction", 0.0, r"valid_fraction must be in \(0, 1\), got 0\.0"),
        ("test_fraction", -0.1, r"test_fraction must be in \(0, 1\), got -0\.1"),
        ("test_fraction", 0.95, r"add up to less than 1, got 0\.05 and 0\.95"),
        ("warmup_epochs", math.inf, r"warmup_epochs must be in \[0, inf\), got inf"),
        ("warmup_epochs", -0.5, r"warmup_epochs must be in \[0, inf\), got -0\.5"),
        ("num_cycles", 0, "num_cycles must be at least 1, got 0"),
        ("cycle_ratio", 0.0, r"cycle_ratio must be in \(0, 1\], got 0\.0"),
        ("cycle_ratio", 1.1, r"cycle_ratio must be in \(0, 1\], got 1\.1"),
        ("max_beta", -1.0, r"max_beta must be in \[0, inf\), got -1\.0"),
        ("free_bits", -1.0, r"free_bits must be in \[0, inf\), got -1\.0"),
        ("autoencoder_epochs", -1, "autoencoder_epochs must be at least 0, got -1"),
        ("language_model_epochs", -1, "language_model_epochs must be at least 0, got -1"),
        ("lr", 0.0, r"lr must be in \(0, inf\), got 0\.0"),
        ("momentum", -0.1, r"momentum must be in \[0, inf\), got -0\.1"),
        ("weight_decay", -1.0, r"weight_decay must be in \[0, inf\), got -1\.0"),
        ("clip_norm", 0.0, r"clip_norm must be in \(0, inf\], got 0\.0"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("max_tokens", 0, "max_tokens must be at least 1, got 0"),
        ("max_epochs", 0, "max_epochs must be at least 1, got 0"),
        ("max_steps", 0, "max_steps must be at least 1, got 0"),
        ("lr_decay", 0.0, r"lr_decay must be in \(0, 1\), got 0\.0"),
        ("lr_decay", 1.0, r"lr_decay must be in \(0, 1\), got 1\.0"),
        ("lr_patience", -1, "lr_patience must be at least 0, got -1"),
        ("max_lr_decays", -1, "max_lr_decays must be at least 0, got -1"),
        ("early_stopping", 0, "early_stopping must be at least 1, got 0"),
        ("log_every", 0, "log_every must be at least 1, got 0"),
        ("save_every", 0, "save_every must be at least 1, got 0"),
        *(
            (name, float("nan"), rf"{name}.*nan")
            for name in ("lr", "clip_norm", "max_beta", "cycle_ratio", "lr_decay", "test_fraction")
        ),
    ],
)
def test_ranges(name: str, value: float, message: str) -> None:
    config = next(part for part, field in FIELDS if field.name == name)
    with pytest.raises(ValueError, match=message):
        config(**{name: value})
    with pytest.raises(ValueError, match=message):
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
def test_the_edges_of_the_ranges_are_allowed(edges: dict[str, Any]) -> None:
    flat = RunConfig.from_flat("my.txt", edges).flat()
    assert {name: flat[name] for name in edges} == edges


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="lr must be in") as caught:
        TrainingConfig(lr=-1.0, batch_size=0, lr_decay=2.0)
    assert str(caught.value).split("; ") == [
        "lr must be in (0, inf), got -1.0",
        "batch_size must be at least 1, got 0",
        "lr_decay must be in (0, 1), got 2.0",
    ]


def test_the_faults_of_all_parts_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="min_count must be at least 1") as caught:
        RunConfig.from_flat("my.txt", {"lr": -1.0, "min_count": 0, "max_steps": 0})
    assert str(caught.value).split("; ") == [
        "min_count must be at least 1, got 0",
        "lr must be in (0, inf), got -1.0",
        "max_steps must be at least 1, got 0",
    ]


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="unknown options: bata, latent_dims"):
        RunConfig.from_flat("my.txt", {"latent_dims": 3, "lr": 1.0, "bata": 1})


def test_missing_sections_are_named() -> None:
    run = RunConfig(data_source="my.txt").to_dict()
    del run["model"], run["data_source"]
    with pytest.raises(ValueError, match="missing in the configuration: data_source, model"):
        RunConfig.from_dict(run)


def test_from_dict_checks_as_from_flat_does() -> None:
    run = RunConfig(data_source="my.txt").to_dict()
    run["training"]["lr"] = 0.0
    with pytest.raises(ValueError, match="lr must be in"):
        RunConfig.from_dict(run)
    run["training"] = {"learning_rate": 1.0}
    with pytest.raises(ValueError, match="unknown options: learning_rate"):
        RunConfig.from_dict(run)


def values(config: type, name: str) -> st.SearchStrategy[Any]:
    """Values that are allowed for a field, by its type; wide of the limits."""
    return of_type(get_type_hints(config)[name])


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if isinstance(hint, types.UnionType):
        return st.one_of(*map(of_type, get_args(hint)))
    return {
        bool: st.booleans(),
        int: st.integers(5, 10**9),
        float: st.floats(0.01, 0.4),
        str: st.text(),
        type(None): st.none(),
    }[hint]


options = st.fixed_dictionaries(
    {},
    optional={
        field.name: values(config, field.name)
        for config, field in FIELDS
        if field.name != "tied_embeddings"  # needs two others to agree
    },
)


@given(st.text(), options)
def test_there_and_back_again(source: str, given_options: dict[str, Any]) -> None:
    config = RunConfig.from_flat(source, given_options)
    flat = config.flat()
    assert {name: flat[name] for name in given_options} == given_options
    assert set(flat) == {field.name for _, field in FIELDS}
    assert RunConfig.from_flat(source, flat) == config
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_what_is_not_given_keeps_its_default() -> None:
    assert RunConfig.from_flat("my.txt", {}) == RunConfig(data_source="my.txt")


def test_names_are_unique_over_all_parts() -> None:
    names = [field.name for _, field in FIELDS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=[field.name for _, field in FIELDS])
def test_every_field_has_help_and_a_default_of_its_type(config: type, field: Any) -> None:
    assert len(field.metadata["help"]) > 5
    hint = get_type_hints(config)[field.name]
    allowed = get_args(hint) if get_origin(hint) is Literal else None
    assert field.default in allowed if allowed else isinstance(field.default, hint)


def test_configs_are_frozen_and_by_keyword_only() -> None:
    for config in (*PARTS, RunConfig):
        with pytest.raises(TypeError):
            config(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig().lr = 2.0  # type: ignore[misc]
