"""Distances in latent space, neighbours, edits."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

import textvae.generation as gen
from tests.draws import draws
from textvae.generation import distances as module
from textvae.model import Gaussian, Posterior, SentenceVAE


def test_distances():
    query = Gaussian(draws(1, 3, seed=1), draws(1, 3, seed=2))
    corpus = Gaussian(draws(8, 3, seed=3), draws(8, 3, seed=4))
    found = {metric: gen.latent_distances(query, corpus, metric) for metric in gen.METRICS}
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
    for metric in gen.METRICS:
        assert gen.latent_distances(query, query, metric).item() == pytest.approx(0, abs=1e-6)
    zero = Gaussian(torch.zeros(1, 3), torch.zeros(1, 3))
    assert gen.latent_distances(zero, query).tolist() == [1]


@pytest.mark.parametrize("metric", gen.METRICS)
def test_neighbours_are_those_of_the_whole_corpus(lively_model, texts, metric, monkeypatch):
    corpus = [*texts, "the old dog sees", "cats", *texts[::-1], "a cat runs"]
    query = gen.encode(lively_model, [texts[2]])
    all_distances = gen.latent_distances(query, gen.encode(lively_model, corpus), metric)
    expected = sorted(all_distances.tolist())[:6]
    for chunk in (4096, 4, 1):
        monkeypatch.setattr(module, "CHUNK", chunk)
        found = gen.neighbours(lively_model, texts[2], iter(corpus), 6, metric=metric)
        assert [near.distance for near in found] == pytest.approx(expected, abs=1e-5)
        assert [near.text for near in found] == [corpus[near.position] for near in found]
        assert len({near.position for near in found}) == 6
        assert {near.position for near in found[:2]} == {2, 11}, "the sentence itself, twice"
    found = gen.neighbours(lively_model, "a dog runs", texts, metric=metric)
    assert {near.position for near in found} == set(range(6)), "all of a small corpus"


def test_a_corpus_is_read_a_part_at_a_time(lively_model, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 10)
    inner, read = module.encode, []
    corpus = (read.append(i) or ("a dog runs" if i % 7 else "the cat sees") for i in range(95))

    def encode(model: SentenceVAE, texts: list[str]) -> Posterior:
        assert len(read) <= 10
        read.clear()
        return inner(model, texts)

    monkeypatch.setattr(module, "encode", encode)
    found = gen.neighbours(lively_model, "the cat sees", corpus, 14)
    assert [near.position for near in found] == list(range(0, 95, 7))


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
def test_changes_are_edits_over_the_longer_sentence(ids):
    found = gen.changes([gen.Decoded("", list(each), 0.0) for each in ids])
    expected = [
        distance_by_recursion(one, other) / max(len(one), len(other), 1)
        for one, other in pairwise(ids)
    ]
    assert found == expected
