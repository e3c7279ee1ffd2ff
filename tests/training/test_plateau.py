"""Tests of `textvae.training.plateau`."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.training import Plateau

TABLE: list[tuple[str, dict[str, Any], list[tuple[float, str]]]] = [
    (
        "the first is the best so far, and only more is better",
        {"patience": 9, "max_decays": 9},
        [(-9, "better"), (-8, "better"), (-8, "wait"), (-8.5, "wait"), (-7.9, "better")],
    ),
    (
        "patience is the number of evaluations waited before a decay",
        {"patience": 2, "max_decays": 9},
        [(-5, "better"), *[(-6, "wait"), (-6, "wait"), (-6, "decay")] * 2],
    ),
    (
        "without patience every evaluation that is no better decays",
        {"patience": 0, "max_decays": 2},
        [(-5, "better"), (-6, "decay"), (-4, "better"), (-6, "decay"), (-6, "stop")],
    ),
    (
        "after the last decay there is patience once more, then the rate is exhausted",
        {"patience": 1, "max_decays": 1},
        [(-5, "better"), (-6, "wait"), (-6, "decay"), (-6, "wait"), (-6, "stop")],
    ),
    (
        "a better one after a decay starts the waiting anew, not the decays",
        {"patience": 1, "max_decays": 1},
        [(-5, "better"), (-6, "wait"), (-6, "decay"), (-4, "better"), (-6, "wait"), (-6, "stop")],
    ),
    (
        "without decays patience alone decides",
        {"patience": 1, "max_decays": 0},
        [(-5, "better"), (-6, "wait"), (-6, "stop")],
    ),
    (
        "early stopping counts from the best one, decays or not",
        {"patience": 0, "max_decays": 9, "early_stopping": 3},
        [(-5, "better"), (-6, "decay"), (-6, "decay"), (-6, "stop")],
    ),
    (
        "early stopping counts anew from a better one",
        {"patience": 9, "max_decays": 9, "early_stopping": 2},
        [(-5, "better"), (-6, "wait"), (-4, "better"), (-6, "wait"), (-6, "stop")],
    ),
    (
        "an ELBO that is no number is no better",
        {"patience": 0, "max_decays": 9},
        [(-5, "better"), (math.nan, "decay"), (-math.inf, "decay"), (-4, "better")],
    ),
]


@pytest.mark.parametrize(
    ("arguments", "evaluations"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_verdicts(arguments: dict[str, Any], evaluations: list[tuple[float, str]]) -> None:
    plateau = Plateau(**arguments)
    assert [plateau.update(elbo) for elbo, _ in evaluations] == [said for _, said in evaluations]


elbos = st.lists(st.sampled_from([-5.0, -4.0, -3.0, -2.0]), max_size=25)


@given(elbos, st.integers(0, 3), st.integers(0, 3), st.none() | st.integers(1, 5))
def test_it_stops_as_it_counts(
    values: list[float], patience: int, max_decays: int, early_stopping: int | None
) -> None:
    plateau = Plateau(patience, max_decays, early_stopping)
    for i, elbo in enumerate(values):
        verdict = plateau.update(elbo)
        assert plateau.best == max(values[: i + 1])
        assert (verdict == "better") == (plateau.stale == 0)
        assert plateau.decays <= max_decays
        if verdict == "stop":
            assert early_stopping == plateau.stale or plateau.decays == max_decays
            break


@given(elbos, elbos)
def test_continued_from_its_state_it_says_the_same(before: list[float], after: list[float]) -> None:
    plateau, resumed = Plateau(1, 2, 6), Plateau(1, 2, 6)
    for elbo in before:
        plateau.update(elbo)
    state = json.loads(json.dumps(plateau.state_dict()))  # as it is stored
    resumed.load_state_dict(state)
    assert resumed == plateau
    assert [resumed.update(elbo) for elbo in after] == [plateau.update(elbo) for elbo in after]
