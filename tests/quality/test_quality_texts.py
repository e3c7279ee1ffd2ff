"""Tests of `textvae.quality.texts`: shares counted by hand, distances by another definition."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.quality import (
    distinct,
    duplicates,
    length_distance,
    novel_ngrams,
    novelty,
    self_bleu,
    text_figures,
)

TEXTS = ["a b a b a", "c", "a  b", "a b"]
TRAINING = ["b a b a", "c", "x y z"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (1, 3 / 10),  # a, b, c among ten words
        (2, 2 / 6),  # ab, ba among four and one and one
        (3, 2 / 3),  # aba twice, bab once
        (4, 2 / 2),  # abab, baba
        (5, 1.0),
        (6, 0.0),  # there are none
    ],
)
def test_distinct(order: int, expected: float) -> None:
    assert distinct(TEXTS, order) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (1, 0.0),  # all three words were trained on
        (2, 0.0),  # so were ab and ba, in one sentence
        (3, 0.0),
        (4, 1 / 2),  # abab was not
        (5, 1.0),  # no training sentence has five words
        (6, 0.0),  # nor has a text six
    ],
)
def test_novel_ngrams(order: int, expected: float) -> None:
    assert novel_ngrams(TEXTS, TRAINING, order) == pytest.approx(expected)


def test_novel_ngrams_count_as_often_as_they_occur() -> None:
    assert novel_ngrams(["a a a b"], ["b"], 1) == 3 / 4


def test_ngrams_do_not_reach_across_sentences() -> None:
    assert novel_ngrams(["a b"], ["x a", "b y"], 2) == 1.0
    assert distinct(["a b", "c d"], 3) == 0.0


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a", "b"], 0.0),
        (TEXTS, 1 / 4),  # white space does not make two sentences of "a b"
        (["a", "a", "a", "b"], 2 / 4),  # one of three may stay
        (["", ""], 1 / 2),
        ([], 0.0),
    ],
)
def test_duplicates(texts: list[str], expected: float) -> None:
    assert duplicates(texts) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (TEXTS, 3 / 4),  # "c" alone is known
        (["b a  b a", "c"], 0.0),
        (["b a b"], 1.0),  # part of a known sentence is none
        ([], 0.0),
    ],
)
def test_novelty(texts: list[str], expected: float) -> None:
    assert novelty(texts, TRAINING) == expected


LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=8)


def of_lengths(lengths: list[int]) -> list[str]:
    return [" ".join(["w"] * length) for length in lengths]


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        ([3], [3], 0.0),
        ([3], [5], 2.0),
        ([1, 5], [3, 3], 2.0),  # the same mean is not the same lengths
        ([0], [0, 4], 2.0),  # half of it moves by four
        ([2, 2, 2], [2], 0.0),  # how many there are does not matter
    ],
)
def test_length_distance(own: list[int], others: list[int], expected: float) -> None:
    assert length_distance(of_lengths(own), of_lengths(others)) == pytest.approx(expected)


@given(LENGTHS, LENGTHS)
def test_length_distance_is_that_of_lengths_in_order(own: list[int], others: list[int]) -> None:
    """For equally many, it is the mean distance between the shortest, the next, and so on."""
    alike = sorted(own * len(others)), sorted(others * len(own))
    moved = [abs(a - b) for a, b in zip(*alike, strict=True)]
    found = length_distance(of_lengths(own), of_lengths(others))
    assert found == pytest.approx(sum(moved) / len(moved), abs=1e-9)
    assert found == pytest.approx(length_distance(of_lengths(others), of_lengths(own)), abs=1e-9)


WORDS = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, max_size=6), st.integers(1, 4))
def test_shares_as_defined(texts: list[str], training: list[str], order: int) -> None:
    def listed(sentences: list[str]) -> list[list[str]]:
        words = [sentence.split() for sentence in sentences]
        return [x[i : i + order] for x in words for i in range(len(x) - order + 1)]

    own, known = listed(texts), listed(training)
    different = [x for x, after in pairwise([*sorted(own), None]) if x != after]
    assert distinct(texts, order) == (len(different) / len(own) if own else 0)
    new = [x for x in own if x not in known]
    assert novel_ngrams(texts, training, order) == (len(new) / len(own) if own else 0)


def test_all_together() -> None:
    figures = asdict(text_figures(TEXTS, TRAINING))
    assert figures == {
        "num_sentences": 4,
        "self_bleu": self_bleu(TEXTS),
        "distinct": (0.3, 2 / 6, 2 / 3, 1.0),
        "duplicates": 0.25,
        "novelty": 0.75,
        "novel_4grams": 0.5,
        "length_mean": 2.5,
        "length_sd": 1.5,  # of 5, 1, 2, 2
        "length_distance": length_distance(TEXTS, TRAINING),
    }


def test_what_is_refused() -> None:
    for measure in (lambda: distinct(TEXTS, 0), lambda: novel_ngrams(TEXTS, TRAINING, 0)):
        with pytest.raises(ValueError, match="order must be at least 1, got 0"):
            measure()
    with pytest.raises(ValueError, match="texts must hold at least one sentence, got 0"):
        length_distance([], ["a"])
    with pytest.raises(ValueError, match="others must hold at least one sentence, got 0"):
        length_distance(["a"], [])
    with pytest.raises(ValueError, match="texts must be at least 2, got 1"):
        text_figures(["a"], TRAINING)
