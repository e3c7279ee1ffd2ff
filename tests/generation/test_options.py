"""Tests of the options of decoding; `test_config.py` has those of what all options share."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from textvae.checks import InputError
from textvae.generation import NUM_BEAMS, Decoding


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "strategy must be one of greedy, sample, beam, got 'best'"),
        ({"temperature": 0.0}, "temperature must be in (0, inf), got 0.0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 1.1}, "top_p must be in (0, 1], got 1.1"),
        ({"typical_p": 2.0}, "typical_p must be in (0, 1], got 2.0"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"length_penalty": -0.5}, "length_penalty must be in [0, inf), got -0.5"),
        ({"min_length": -1}, "min_length must be at least 0, got -1"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"min_length": 4, "max_length": 3}, "min_length must be at most max_length (3), got 4"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Decoding(**options)


@pytest.mark.parametrize(
    ("strategy", "option", "value", "owner"),
    [
        ("greedy", "temperature", 0.5, "sample"),
        ("greedy", "top_k", 3, "sample"),
        ("beam", "top_p", 0.5, "sample"),
        ("beam", "typical_p", 0.5, "sample"),
        ("greedy", "num_beams", 5, "beam"),
        ("sample", "length_penalty", 1.0, "beam"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    strategy: str, option: str, value: float, owner: str
) -> None:
    message = f"^{option} is an option of strategy '{owner}' only, got strategy '{strategy}'$"
    with pytest.raises(InputError, match=message):
        Decoding(strategy=strategy, **{option: value})
    Decoding(strategy=owner, **{option: value})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InputError, match=r"^top_k .*; top_p .*; top_p .*; max_length ") as fault:
        Decoding(strategy="beam", temperature=1.0, top_k=2, top_p=3.0, max_length=0)
    assert str(fault.value).count(";") == 3


def test_options_are_frozen_and_have_help() -> None:
    options = Decoding(strategy="beam", max_length=7)
    assert options.beams == NUM_BEAMS == 5
    assert dataclasses.replace(options, num_beams=2).beams == 2
    assert Decoding().beams == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_length = 0  # type: ignore[misc]
    assert all(field.metadata["help"] for field in dataclasses.fields(Decoding))
