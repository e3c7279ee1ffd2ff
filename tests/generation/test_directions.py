"""Tests of `textvae.generation.directions`."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from textvae.generation import analogy, attribute_vector, decode, encode, reconstruct, shift
from textvae.generation.directions import analogy_codes
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer


def test_an_analogy_is_a_sum_of_codes(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    found = set()
    for a, b, c in permutations(texts[:5], 3):
        z = encode(lively_model, [a]).mu - encode(lively_model, [b]).mu
        z = z + encode(lively_model, [c]).mu
        torch.testing.assert_close(analogy_codes(lively_model, a, b, c), z)
        expected = word_tokenizer.decode(decode(lively_model, z, max_length=8)[0])
        assert analogy(lively_model, a, b, c, max_length=8) == expected
        found.add(expected)
    assert len(found) > 1


def test_what_cancels_leaves_the_third(lively_model: SentenceVAE, texts: list[str]) -> None:
    back = reconstruct(lively_model, texts[:2], max_length=8)
    assert analogy(lively_model, texts[0], texts[0], texts[1], max_length=8) == back[1]
    assert analogy(lively_model, texts[1], texts[0], texts[0], max_length=8) == back[1]


def test_an_attribute_is_a_difference_of_means(lively_model: SentenceVAE, texts: list[str]) -> None:
    mu = encode(lively_model, texts).mu
    vector = attribute_vector(lively_model, texts[:2], texts[2:])
    torch.testing.assert_close(vector, (mu[0] + mu[1]) / 2 - mu[2:].sum(0) / 4)


def test_a_shift_by_the_difference_arrives(lively_model: SentenceVAE, texts: list[str]) -> None:
    back = reconstruct(lively_model, texts, max_length=8)
    assert back[0] != back[2]
    vector = attribute_vector(lively_model, [texts[2]], [texts[0]])
    assert shift(lively_model, texts[0], vector, max_length=8) == back[2]
    assert shift(lively_model, texts[0], vector, strength=0.0, max_length=8) == back[0]
    assert shift(lively_model, texts[0], -0.5 * vector, strength=-2, max_length=8) == back[2]


def test_arguments_outside_their_range_are_refused(tiny_model: SentenceVAE) -> None:
    with pytest.raises(ValueError, match=r"vector must have the shape \(3,\), got \(1, 3\)"):
        shift(tiny_model, "a dog", torch.zeros(1, 3))
    with pytest.raises(ValueError, match="strength must be finite, got nan"):
        shift(tiny_model, "a dog", torch.zeros(3), strength=math.nan)
    with pytest.raises(ValueError, match="text 2 must have at least one token, got ''"):
        analogy(tiny_model, "a dog", "", "a cat")
    with pytest.raises(ValueError, match="texts must hold at least one sentence, got 0"):
        attribute_vector(tiny_model, ["a dog"], [])
