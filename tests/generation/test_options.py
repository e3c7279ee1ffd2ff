"""Tests of `textvae.generation.options`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from textvae.generation import NUM_BEAMS, Decoding


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "strategy must be one of greedy, sample, beam, got 'best'"),
        ({"precision": "fp64"}, "precision must be one of auto, fp32, bf16, got 'fp64'"),
        ({"temperature": 0.0}, r"temperature must be finite and above 0, got 0\.0"),
        ({"temperature": -1.0}, r"temperature must be finite and above 0, got -1\.0"),
        ({"temperature": math.nan}, "temperature must be finite and above 0, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 0.0}, r"top_p must be above 0 and at most 1, got 0\.0"),
        ({"top_p": 1.1}, r"top_p must be above 0 and at most 1, got 1\.1"),
        ({"top_p": math.nan}, "top_p must be above 0 and at most 1, got nan"),
        ({"typical_p": 2}, "typical_p must be above 0 and at most 1, got 2"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"length_penalty": -0.5}, r"length_penalty must be finite and at least 0, got -0\.5"),
        ({"length_penalty": math.inf}, "length_penalty must be finite and at least 0, got inf"),
        ({"min_length": -1}, "min_length must be at least 0, got -1"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        (
            {"min_length": 4, "max_length": 3},
            r"min_length must be at most max_length \(3\), got 4",
        ),
        ({"repetition_penalty": 0}, "repetition_penalty must be finite and above 0, got 0"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
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
    with pytest.raises(ValueError, match=message):
        Decoding(strategy=strategy, **{option: value})
    Decoding(strategy=owner, **{option: value})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"^top_k .*; top_p .*; top_p .*; max_length ") as fault:
        Decoding(strategy="beam", temperature=1.0, top_k=2, top_p=3.0, max_length=0)
    assert str(fault.value).count(";") == 3


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_p": 0.5},
        {"typical_p": 0.5},
        {"repetition_penalty": 2.0},
        {"strategy": "greedy"},
    ],
)
def test_options_that_make_another_distribution(other: dict[str, Any]) -> None:
    plain = Decoding(strategy="sample", min_length=1, forbidden=[7], allow_unknown=False)
    assert plain.draws_from_model
    assert not dataclasses.replace(plain, **other).draws_from_model


def test_options_stay_as_they_were_checked() -> None:
    options = Decoding(strategy="beam", max_length=7)
    assert options.beams == NUM_BEAMS == 5
    assert dataclasses.replace(options, num_beams=2).beams == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_length = 0  # type: ignore[misc]
