"""Tests of distances: between codes, and between sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from tests.generation.building import draw_codes
from textvae.checks import InputError
from textvae.generation import (
    METRICS,
    Decoded,
    changes,
    encode,
    latent_distances,
    neighbours,
)
from textvae.generation import texts as texts_module
from textvae.model import Gaussian, Posterior, SentenceVAE


def test_distances() -> None:
    query = Gaussian(draw_codes(1, 3), draw_codes(1, 3, seed=2))
    corpus = Gaussian(draw_codes(8, 3, seed=3), draw_codes(8, 3, seed=4))
    found = {metric: latent_distances(query, corpus, metric) for metric in METRICS}
    for i in range(8):
        one, other = query.mu[0], corpus.mu[i]
        cosine = sum(one * other) / (sum(one**2) * sum(other**2)) ** 0.5
        torch.testing.assert_close(found["cosine"][i], 1 - cosine)
        torch.testing.assert_close(found["euclidean"][i], torch.dist(one, other))
        divergence = kl_divergence(
            Normal(query.mu[0], (0.5 * query.logvar[0]).exp()),
            Normal(corpus.mu[i], (0.5 * corpus.logvar[i]).exp()),
        )
        torch.testing.assert_close(found["kl"][i], divergence.sum())


def test_distances_of_nothing_and_from_nothing() -> None:
    one = Gaussian(draw_codes(1, 3), draw_codes(1, 3, seed=2))
    for metric in METRICS:
        assert latent_distances(one, one, metric).item() == pytest.approx(0, abs=1e-6)
    zero = Gaussian(torch.zeros(1, 3), torch.zeros(1, 3))
    assert latent_distances(zero, one).tolist() == [1]


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_the_whole_corpus(
    lively_model: SentenceVAE, texts: list[str], metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = [*texts, "the old dog sees", "cats", *texts[::-1], "a cat runs"]
    query = encode(lively_model, [texts[2]])
    all_distances = latent_distances(query, encode(lively_model, corpus), metric)
    expected = sorted(all_distances.tolist())[:6]
    for chunk in (4096, 4, 1):
        monkeypatch.setattr(texts_module, "CHUNK", chunk)
        found = neighbours(lively_model, texts[2], iter(corpus), 6, metric=metric)
        assert [near.distance for near in found] == pytest.approx(expected, abs=1e-5)
        assert [near.text for near in found] == [corpus[near.position] for near in found]
        assert len({near.position for near in found}) == 6
        assert {near.position for near in found[:2]} == {2, 11}, "the sentence itself, twice"
    found = neighbours(lively_model, "a dog runs", texts, metric=metric)
    assert {near.position for near in found} == set(range(6)), "all of a small corpus"


def test_a_corpus_is_read_a_part_at_a_time(
    lively_model: SentenceVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_module, "CHUNK", 10)
    held, most = 0, 0
    inner = texts_module.encode

    def encode_and_count(model: SentenceVAE, texts: list[str]) -> Posterior:
        nonlocal held, most
        most, held = max(most, held), 0
        return inner(model, texts)

    def corpus() -> Iterator[str]:
        nonlocal held
        for i in range(95):
            held += 1
            yield "a dog runs" if i % 7 else "the cat sees"

    monkeypatch.setattr(texts_module, "encode", encode_and_count)
    found = neighbours(lively_model, "the cat sees", corpus(), 14)
    assert [near.position for near in found] == list(range(0, 95, 7))
    assert most == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"metric": "l1"}, "metric must be one of cosine, euclidean, kl, got 'l1'"),
        ({"corpus_texts": []}, "corpus_texts must hold at least one sentence, got 0"),
        ({"corpus_texts": ["a dog", ""]}, "text 2 must have at least one token, got ''"),
    ],
)
def test_arguments_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        neighbours(tiny_model, **{"text": "a dog", "corpus_texts": ["a cat"], **arguments})


def distance_by_recursion(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    @cache
    def rest(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return len(one) - i + len(other) - j
        if one[i] == other[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


IDS = st.lists(st.integers(0, 3), max_size=8).map(tuple)


@given(st.tuples(IDS, IDS, IDS))
def test_changes_are_edits_over_the_longer_sentence(ids: tuple[tuple[int, ...], ...]) -> None:
    found = changes([Decoded("", list(each), 0.0) for each in ids])
    expected = [
        distance_by_recursion(one, other) / max(len(one), len(other), 1)
        for one, other in pairwise(ids)
    ]
    assert found == expected
