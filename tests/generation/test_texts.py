"""Tests of `textvae.generation.texts`: every function decodes the codes of its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.generation.building import push
from textvae.checks import InputError
from textvae.generation import (
    aggregate_codes,
    analogy,
    analogy_codes,
    attribute_vector,
    generate_text,
    interpolate,
    jitter,
    jittered_codes,
    path_codes,
    posterior_codes,
    prior_codes,
    reconstruct,
    sample,
    shift,
    traversal_codes,
    traverse,
)
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, UNK_ID

ONE, OTHER, THIRD = TEXTS = ["the cat sees a dog", "a dog runs", "cats run"]
NINE: dict[str, Any] = {"max_length": 9}
DRAWN: dict[str, Any] = {**NINE, "strategy": "sample", "seed": 2}
KNOWN: dict[str, Any] = {**DRAWN, "allow_unknown": False}
LIKE: dict[str, Any] = {"source": "aggregate", "texts": TEXTS}

Make = Callable[[SentenceVAE], Any]


@pytest.mark.parametrize(
    ("write", "make_codes", "decoding"),
    [
        (lambda m: sample(m, 9, seed=2, **NINE), lambda m: prior_codes(m, 9, seed=2), KNOWN),
        (
            lambda m: sample(m, 9, seed=2, **LIKE, **NINE),
            lambda m: aggregate_codes(m, 9, TEXTS, seed=2),
            KNOWN,
        ),
        (lambda m: reconstruct(m, TEXTS, **NINE), lambda m: posterior_codes(m, TEXTS), NINE),
        (
            lambda m: reconstruct(m, TEXTS, sampled=True, **DRAWN),
            lambda m: posterior_codes(m, TEXTS, sampled=True, seed=2),
            DRAWN,
        ),
        (
            lambda m: jitter(m, ONE, 9, scale=3.0, **DRAWN),
            lambda m: jittered_codes(m, ONE, 9, scale=3.0, seed=2),
            DRAWN,
        ),
        (
            lambda m: interpolate(m, *TEXTS, steps=4, method="spherical", **NINE),
            lambda m: path_codes(m, *TEXTS, steps=4, method="spherical"),
            NINE,
        ),
        (
            lambda m: traverse(m, ONE, 2, low=-4.0, high=2.0, steps=5, **NINE),
            lambda m: traversal_codes(m, ONE, 2, low=-4.0, high=2.0, steps=5),
            NINE,
        ),
    ],
)
def test_what_is_decoded_are_the_codes_of_that_name(
    lively_model: SentenceVAE, write: Make, make_codes: Make, decoding: dict[str, Any]
) -> None:
    found = write(lively_model)
    assert found == generate_text(lively_model, make_codes(lively_model), **decoding)
    assert len(set(found)) > 1


def test_an_analogy(lively_model: SentenceVAE) -> None:
    z = analogy_codes(lively_model, ONE, OTHER, THIRD)
    found = analogy(lively_model, ONE, OTHER, THIRD, max_length=8)
    assert [found] == generate_text(lively_model, z, max_length=8)
    back = reconstruct(lively_model, [ONE, OTHER], max_length=8)
    assert analogy(lively_model, ONE, ONE, OTHER, max_length=8) == back[1]


def test_a_shift_by_the_difference_arrives(lively_model: SentenceVAE, texts: list[str]) -> None:
    back = reconstruct(lively_model, texts, max_length=8)
    assert back[0] != back[2]
    vector = attribute_vector(lively_model, [texts[2]], [texts[0]])
    assert shift(lively_model, texts[0], vector, max_length=8) == back[2]
    assert shift(lively_model, texts[0], vector, strength=0.0, max_length=8) == back[0]
    assert shift(lively_model, texts[0], -0.5 * vector, strength=-2, max_length=8) == back[2]


def test_interpolation_ends_at_both_reconstructions(lively_model: SentenceVAE) -> None:
    path = interpolate(lively_model, ONE, OTHER, max_length=9)
    assert len(path) == 5
    assert [path[0], path[-1]] == reconstruct(lively_model, [ONE, OTHER], max_length=9)
    still = interpolate(lively_model, ONE, ONE, max_length=9)
    assert still == reconstruct(lively_model, [ONE], max_length=9) * 5


def test_text_is_bounded_by_default(tiny_model: SentenceVAE) -> None:
    push(tiny_model, EOS_ID, -1e9)
    assert [len(text.split()) for text in sample(tiny_model, 2)] == [200, 200]


def test_samples_have_no_unknown_words_unless_asked(tiny_model: SentenceVAE) -> None:
    push(push(tiny_model, UNK_ID, 1e4), EOS_ID, -1e9)
    for strategy in ("greedy", "sample", "beam"):
        found = sample(tiny_model, 3, max_length=3, strategy=strategy)
        assert "<unk>" not in " ".join(found)
        assert [len(text.split()) for text in found] == [3, 3, 3]
    assert sample(tiny_model, 1, max_length=3, allow_unknown=True) == ["<unk> <unk> <unk>"]
    assert reconstruct(tiny_model, ["a dog"], max_length=2) == ["<unk> <unk>"]


def test_the_same_seed_gives_the_same_sentences(tiny_model: SentenceVAE) -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = sample(tiny_model, 8, seed=3, max_length=10)
    assert torch.random.get_rng_state().equal(state), "the global generator must not move"
    assert sample(tiny_model, 8, seed=3, max_length=10, batch_size=3) == first
    assert sample(tiny_model, 3, seed=3, max_length=10) == first[:3]
    assert sample(tiny_model, 8, seed=4, max_length=10) != first


def test_a_language_model_samples(language_model: SentenceVAE) -> None:
    assert prior_codes(language_model, 3).shape == (3, 0)
    assert len(set(sample(language_model, 8, seed=1, max_length=10))) > 1
    assert len(set(sample(language_model, 3, strategy="greedy", max_length=10))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sentences": 0}, "num_sentences must be at least 1, got 0"),
        ({"source": "posterior"}, "source must be one of prior, aggregate, got 'posterior'"),
        ({"source": "aggregate"}, "texts must be given with source 'aggregate' only"),
        ({"texts": ["a dog"]}, "texts must be given with source 'aggregate' only, got 'prior'"),
    ],
)
def test_arguments_of_sample_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample(tiny_model, **{"num_sentences": 2, **arguments})


def test_other_arguments_outside_their_range_are_refused(tiny_model: SentenceVAE) -> None:
    with pytest.raises(InputError, match=r"vector must have the shape \(3,\), got \(1, 3\)"):
        shift(tiny_model, "a dog", torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"strength must be in \(-inf, inf\), got nan"):
        shift(tiny_model, "a dog", torch.zeros(3), strength=math.nan)
    with pytest.raises(InputError, match="max_length must be at least 1, got 0"):
        jitter(tiny_model, "a dog", max_length=0)
