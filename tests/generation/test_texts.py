"""Encoding, codes, text in, text out, distances, and the model with these as methods."""

import inspect
import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

import textvae
import textvae.generation as gen
from tests.draws import draws
from tests.generation.conftest import push
from textvae.batches import collate
from textvae.checks import InputError
from textvae.diagnostics import importance_nll
from textvae.generation import texts as module
from textvae.generation.draws import NOISE, uniforms
from textvae.model import Gaussian, Posterior, SentenceVAE
from textvae.quality import reconstruction_figures
from textvae.tokenizer import EOS_ID, UNK_ID, Tokenizer

ONE, OTHER, _ = TEXTS = ["the cat sees a dog", "a dog runs", "cats run"]
DRAWN: dict[str, Any] = {"strategy": "sample", "seed": 2}


@pytest.mark.parametrize(
    ("together", "shapes"),
    [
        (64, [(6, 6)]),
        # Tokens per text: 5 3 6 2 3 3, and each batch is as wide as its longest.
        (4, [(4, 3), (2, 6)]),
        (1, [(1, 2), (1, 3), (1, 3), (1, 3), (1, 5), (1, 6)]),
    ],
)
def test_encoding_equals_the_model_on_batches_of_like_length(
    tiny_model, texts, monkeypatch, together, shapes
):
    found, inner = [], tiny_model.encode
    monkeypatch.setattr(
        tiny_model, "encode", lambda batch: found.append(batch.target_ids.shape) or inner(batch)
    )
    monkeypatch.setattr(module, "TOGETHER", together)
    posterior = gen.encode(tiny_model, texts)
    assert [(rows, width - 1) for rows, width in found] == shapes  # without EOS
    assert posterior.mean.shape == posterior.variance.shape == (len(texts), 3)
    assert not posterior.mean.requires_grad
    for i, text in enumerate(texts):
        alone = inner(collate([tiny_model.tokenizer.encode(text)]))
        torch.testing.assert_close(posterior.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(posterior.variance[i : i + 1], alone.variance)


def test_unknown_words_are_read_as_one(tiny_model):
    mean = gen.encode(tiny_model, ["the zebra runs", "the <unk> runs", "the dog runs"]).mean
    torch.testing.assert_close(mean[0], mean[1])
    assert not torch.allclose(mean[0], mean[2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "texts must hold at least one sentence, got 0"),
        (["a dog", ""], "text 2 must have at least one token, got ''"),
        (["a dog", "a cat", " \t"], r"text 3 must have at least one token, got ' \\t'"),
        (["a dog", "a <eos> dog"], "text 2 contains the reserved token <eos>"),
        (["a dog", "the dog sees the old cat"], "text 2 must have at most 5 tokens, as in traini"),
    ],
)
def test_texts_that_cannot_be_encoded_are_refused(tiny_model, given, message):
    for function in (gen.encode, gen.check_texts):
        with pytest.raises(InputError, match=message):
            function(tiny_model, given, max_tokens=5)
    gen.check_texts(tiny_model, ["the dog sees the cat"], max_tokens=5)
    with pytest.raises(TypeError, match="texts must be a sequence of sentences, got the string"):
        gen.encode(tiny_model, "a dog")
    with pytest.raises(TypeError, match="texts must be strings, got None"):
        gen.reconstruct(tiny_model, ["a dog", None])


def test_codes_of_the_prior_belong_to_their_places(tiny_model):
    z = gen.prior_codes(tiny_model, 12, seed=7)
    place = torch.arange(12)[:, None]
    assert z.equal(torch.special.ndtri(uniforms(7, NOISE, place, torch.arange(3))).float())
    assert gen.prior_codes(tiny_model, 5, seed=7).equal(z[:5])
    assert not gen.prior_codes(tiny_model, 12).equal(z)


def test_codes_of_the_aggregate_are_those_of_texts(lively_model, texts):
    with torch.no_grad():  # posteriors so narrow that a draw is the mean
        lively_model.head.logvar.weight.zero_()
        lively_model.head.logvar.bias.fill_(-40.0)
    means = gen.encode(lively_model, texts).mean
    z = gen.aggregate_codes(lively_model, 60, texts, seed=1)
    nearest = (z[:, None] - means).norm(dim=-1).min(1)
    assert nearest.values.max() < 1e-4
    assert set(nearest.indices.tolist()) == set(range(6))
    assert gen.aggregate_codes(lively_model, 7, texts, seed=1).equal(z[:7])


@pytest.mark.parametrize("components", [1, 3])
def test_fitted_codes_are_as_the_aggregate_posterior(lively_model, texts, components):
    many = texts * 50
    drawn = gen.posterior_codes(lively_model, many, sampled=True)
    z = gen.fitted_codes(lively_model, 20_000, many, components=components)
    assert (z.dtype, z.shape) == (drawn.dtype, (20_000, 3))
    scale = drawn.std(0)
    assert ((z.mean(0) - drawn.mean(0)) / scale).abs().max() < 0.05
    apart = z.T.cov() - drawn.T.cov(correction=0)
    assert (apart / scale[:, None] / scale).abs().max() < 0.05
    half, rest = z[:10_000].mean(0), z[10_000:].mean(0)  # not one component after another
    assert ((half - rest) / scale).abs().max() < 0.1
    assert gen.fitted_codes(lively_model, 20_000, many, components=components).equal(z)


def test_a_mixture_finds_what_one_gaussian_covers(lively_model, monkeypatch):
    """Two far clusters: nothing of the mixture lies between them, much of the Gaussian does."""
    codes = torch.cat([draws(50, 3, seed=1) - 10, draws(50, 3, seed=2) + 10])
    monkeypatch.setattr(module, "posterior_codes", lambda *_, **__: codes)
    for components, between in ((1, True), (2, False)):
        z = gen.fitted_codes(lively_model, 500, [ONE] * 100, components=components)
        assert bool((z.mean(1).abs() < 5).any()) == between


def test_codes_of_posteriors(lively_model, texts):
    posterior = gen.encode(lively_model, texts)
    assert gen.posterior_codes(lively_model, texts).equal(posterior.mean)
    drawn = gen.posterior_codes(lively_model, texts, sampled=True, seed=3)
    assert drawn.equal(posterior.sample(gen.prior_codes(lively_model, 6, seed=3)))
    assert not drawn.equal(gen.posterior_codes(lively_model, texts, sampled=True))


def test_jitter_goes_as_far_as_it_is_told(lively_model):
    posterior = gen.encode(lively_model, ["a dog runs"])
    still = gen.jittered_codes(lively_model, "a dog runs", 4, scale=0.0)
    assert still.equal(posterior.mean.expand(4, -1))
    z = gen.jittered_codes(lively_model, "a dog runs", 3000, scale=0.5)
    sigma = posterior.variance.sqrt()[0]
    torch.testing.assert_close(z.std(0) / sigma, torch.full((3,), 0.5), atol=0.05, rtol=0)
    assert ((z.mean(0) - posterior.mean[0]) / sigma).abs().max() < 5 * 0.5 / math.sqrt(3000)
    assert gen.jittered_codes(lively_model, "a dog runs", 4, scale=0.5).equal(z[:4])
    assert not gen.jittered_codes(lively_model, "a dog runs", 4, scale=0.5, seed=1).equal(z[:4])


@pytest.mark.parametrize("method", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [2, 3, 6])
def test_a_path_goes_from_mean_to_mean(lively_model, texts, steps, method):
    means = gen.encode(lively_model, texts[:3]).mean
    z = gen.path_codes(lively_model, *texts[:3], steps=steps, method=method)
    way = {"linear": gen.lerp, "spherical": gen.slerp}[method]
    shares = torch.arange(steps) / (steps - 1)
    expected = [way(means[0], means[1], shares), way(means[1], means[2], shares)[1:]]
    torch.testing.assert_close(z, torch.cat(expected))
    torch.testing.assert_close(z[:: steps - 1], means)
    assert gen.path_codes(lively_model, ONE, OTHER).equal(
        gen.path_codes(lively_model, ONE, OTHER, steps=5, method="linear")
    )


def test_jitter_gives_five_unless_told(lively_model):
    assert len(gen.jittered_codes(lively_model, ONE)) == len(gen.jitter(lively_model, ONE)) == 5


def test_traversing_sets_one_dimension(lively_model):
    z = gen.traversal_codes(lively_model, "a dog runs", 1, low=-4.0, high=2.0, steps=4)
    expected = gen.encode(lively_model, ["a dog runs"]).mean.repeat(4, 1)
    expected[:, 1] = torch.tensor([-4.0, -2.0, 0.0, 2.0])
    torch.testing.assert_close(z, expected)
    assert gen.traversal_codes(lively_model, "a dog", 0)[:, 0].tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_an_analogy_is_a_sum_of_codes(lively_model, texts):
    for a, b, c in permutations(texts[:4], 3):
        one, other, third = gen.encode(lively_model, [a, b, c]).mean
        z = (one - other + third)[None]
        torch.testing.assert_close(gen.analogy_codes(lively_model, a, b, c), z)
        found = gen.analogy(lively_model, a, b, c, max_length=8)
        assert [found] == gen.generate_text(lively_model, z, max_length=8)


@pytest.mark.parametrize(
    ("function", "given", "options", "message"),
    [
        (gen.prior_codes, [0], {}, "num_sentences must be at least 1, got 0"),
        (gen.aggregate_codes, [2, []], {}, "texts must hold at least one sentence, got 0"),
        (gen.jittered_codes, [ONE, 0], {}, "num_sentences must be at least 1, got 0"),
        (gen.jittered_codes, [ONE], {"scale": -1.0}, r"scale must be in \[0, inf\), got -1\.0"),
        (gen.jittered_codes, [ONE], {"scale": math.nan}, r"scale must be in \[0, inf\), got nan"),
        (gen.path_codes, [ONE], {}, r"texts must be at least 2 sentences \(both ends\), got 1"),
        (gen.path_codes, [ONE, OTHER], {"steps": 1}, "steps must be at least 2, got 1"),
        (gen.path_codes, [ONE, OTHER], {"method": "cubic"}, "method must be one of linear, spher"),
        (gen.traversal_codes, [ONE, 3], {}, "dim must be at least 0 and at most 2, got 3"),
        (gen.traversal_codes, [ONE, -1], {}, "dim must be at least 0 and at most 2, got -1"),
        (gen.traversal_codes, [ONE, 1], {"steps": 1}, "steps must be at least 2, got 1"),
        (gen.traversal_codes, [ONE, 1], {"low": 3.0}, "low must be finite and below high, got 3"),
        (gen.traversal_codes, [ONE, 1], {"high": math.inf}, "low must be finite and below high"),
        (gen.analogy_codes, [ONE, "", OTHER], {}, "text 2 must have at least one token, got ''"),
        (gen.attribute_vector, [[ONE], []], {}, "texts must hold at least one sentence, got 0"),
        (gen.shift, [ONE, torch.zeros(1, 3)], {}, r"vector must .* \(3,\), got \(1, 3\)"),
        (gen.shift, [ONE, torch.zeros(3)], {"strength": math.nan}, "strength must be in .* nan"),
        (gen.sample, [2], {"source": "mean"}, "source must be one of prior, aggregate, gaussian, "),
        (gen.sample, [2], {"source": "gmm"}, "texts must be given with .* got 'gmm'"),
        (gen.fitted_codes, [0, TEXTS], {}, "num_sentences must be at least 1, got 0"),
        (gen.fitted_codes, [2, TEXTS], {"components": 3}, "texts must be more than 3 to fit to, g"),
        (gen.direction, [TEXTS] * 3, {}, "texts of from must be at least 5, got 3"),
        (gen.direction, [TEXTS] * 3, {"scales": [math.nan]}, "scale must be in .* got nan"),
        (gen.sample, [2], {"source": "aggregate"}, "texts must be given with source"),
        (gen.sample, [2], {"texts": [ONE]}, "texts must be given .* only, got 'prior'"),
        (gen.neighbours, [ONE, [OTHER], 0], {}, "k must be at least 1, got 0"),
        (gen.neighbours, [ONE, [OTHER]], {"metric": "l1"}, "metric must be one of cosine, euclid"),
        (gen.neighbours, [ONE, []], {}, "corpus_texts must hold at least one sentence, got 0"),
        (gen.neighbours, [ONE, [OTHER, ""]], {}, "text 2 must have at least one token, got ''"),
    ],
)
def test_arguments_outside_their_range_are_refused(tiny_model, function, given, options, message):
    with pytest.raises(InputError, match=message):
        function(tiny_model, *given, **options)


def test_an_arc_keeps_length_and_angle():
    start, end = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    arc = gen.slerp(start, end, torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    angles = torch.tensor([0.0, math.pi / 6, math.pi / 4, math.pi / 2])
    expected = 2 * torch.stack([angles.cos(), angles.sin(), torch.zeros(4)], dim=1)
    torch.testing.assert_close(arc, expected)


@pytest.mark.parametrize("way", [gen.lerp, gen.slerp])
def test_ways_meet_their_ends(way):
    for seed in range(20):
        start, end = draws(2, 5, seed=seed) * torch.tensor([[3.0], [0.5]])
        found = way(start, end, torch.linspace(0, 1, 5))
        torch.testing.assert_close(found[[0, -1]], torch.stack([start, end]))
        torch.testing.assert_close(found, way(end, start, torch.linspace(0, 1, 5)).flip(0))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ([0.0, 0.0], [1.0, 2.0]),  # no direction
        ([0.0, 0.0], [0.0, 0.0]),
        ([1.0, 2.0], [2.0, 4.0]),  # no arc
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [-1.0, -2.0]),  # any number of arcs
        ([1e-30, 0.0], [0.0, 1e-30]),  # products too small for fp32
        *(([1.0, 2.0], [1.0 + apart, 2.0 - apart]) for apart in (1e-6, 1e-5, 1e-4, 1e-3)),
    ],
)
def test_where_there_is_no_arc_it_is_a_line(start, end):
    shares = torch.linspace(0, 1, 5)
    ends = torch.tensor(start), torch.tensor(end)
    torch.testing.assert_close(gen.slerp(*ends, shares), gen.lerp(*ends, shares))


@pytest.mark.parametrize(
    ("function", "codes", "given", "shared", "decoding"),
    [
        ("reconstruct", "posterior_codes", [TEXTS], {}, {}),
        ("reconstruct", "posterior_codes", [TEXTS], {"sampled": True, "seed": 2}, DRAWN),
        ("jitter", "jittered_codes", [ONE, 9], {"scale": 3.0, "seed": 2}, DRAWN),
        ("interpolate", "path_codes", TEXTS, {"steps": 4, "method": "spherical"}, {}),
        ("traverse", "traversal_codes", [ONE, 2], {"low": -4.0, "high": 2.0, "steps": 5}, {}),
        ("sample", "prior_codes", [9], {"seed": 2}, {"allow_unknown": False, **DRAWN}),
    ],
)
def test_what_is_decoded_are_the_codes_beside(
    lively_model, function, codes, given, shared, decoding
):
    options = shared if function == "sample" else shared | decoding  # its own defaults
    found = getattr(gen, function)(lively_model, *given, max_length=9, **options)
    z = getattr(gen, codes)(lively_model, *given, **shared)
    assert found == gen.generate_text(lively_model, z, max_length=9, **decoding)
    assert len(set(found)) > 1


def test_samples_of_the_aggregate(lively_model):
    options: dict[str, Any] = {"max_length": 9, **DRAWN, "allow_unknown": True}
    found = gen.sample(lively_model, 9, source="aggregate", texts=TEXTS, **options)
    z = gen.aggregate_codes(lively_model, 9, TEXTS, seed=2)
    assert found == gen.generate_text(lively_model, z, **options)


def test_a_shift_by_the_difference_arrives(lively_model, texts):
    means = gen.encode(lively_model, texts).mean
    back = gen.reconstruct(lively_model, texts, max_length=8)
    assert back[0] != back[2]
    vector = gen.attribute_vector(lively_model, [texts[2]], [texts[0]])
    torch.testing.assert_close(vector, means[2] - means[0])
    both = gen.attribute_vector(lively_model, texts[:2], texts[2:])
    torch.testing.assert_close(both, (means[0] + means[1]) / 2 - means[2:].sum(0) / 4)
    assert gen.shift(lively_model, texts[0], vector, max_length=8) == back[2]
    assert gen.shift(lively_model, texts[0], vector, strength=0.0, max_length=8) == back[0]
    assert gen.shift(lively_model, texts[0], -0.5 * vector, strength=-2, max_length=8) == back[2]


def test_a_direction_is_judged_over_scales(lively_model, monkeypatch):
    """The classifier knows dogs from cats; texts that become one are taken for it."""
    cats, dogs = ["a cat runs"] * 6, ["a dog runs"] * 6
    back = gen.reconstruct(lively_model, [ONE, OTHER], max_length=8)
    found, accuracy = gen.direction(lively_model, cats, dogs, [ONE, OTHER], [1, -2], max_length=8)
    assert accuracy == 1
    assert [each.scale for each in found] == [-2, 0, 1]
    vector = gen.attribute_vector(lively_model, dogs[:1], cats[:1])
    for each in found:
        moved = [
            gen.shift(lively_model, text, vector, strength=each.scale, max_length=8)
            for text in (ONE, OTHER)
        ]
        assert each.texts == moved
        assert each.bleu == reconstruction_figures(moved, [ONE, OTHER]).bleu
    assert found[1].texts == back
    said = {"cat": "a cat runs", "dog": "a dog runs"}
    for names, taken in ((["cat", "dog"], 0.5), (["dog", "dog"], 1.0), (["cat", "cat"], 0.0)):
        texts = [said[name] for name in names]
        monkeypatch.setattr(module, "generate_text", lambda *_, texts=texts, **__: texts)
        found, _ = gen.direction(lively_model, cats, dogs, [ONE, OTHER], [])
        assert [each.taken for each in found] == [taken]


def test_text_is_bounded_by_default(tiny_model):
    push(tiny_model, EOS_ID, -1e9)
    assert [len(text.split()) for text in gen.sample(tiny_model, 2)] == [200, 200]


def test_samples_have_no_unknown_words_unless_asked(tiny_model):
    push(push(tiny_model, UNK_ID, 1e4), EOS_ID, -1e9)
    for strategy in ("greedy", "sample", "beam"):
        found = gen.sample(tiny_model, 3, max_length=3, strategy=strategy)
        assert "<unk>" not in " ".join(found)
        assert [len(text.split()) for text in found] == [3, 3, 3]
    assert gen.sample(tiny_model, 1, max_length=3, allow_unknown=True) == ["<unk> <unk> <unk>"]
    assert gen.reconstruct(tiny_model, ["a dog"], max_length=2) == ["<unk> <unk>"]


def test_the_same_seed_gives_the_same_sentences(tiny_model):
    first = gen.sample(tiny_model, 8, seed=3, max_length=10)
    assert gen.sample(tiny_model, 3, seed=3, max_length=10, batch_size=2) == first[:3]
    assert gen.sample(tiny_model, 8, seed=4, max_length=10) != first


def test_a_language_model_samples_but_does_not_encode(language_model):
    assert gen.prior_codes(language_model, 3).shape == (3, 0)
    assert len(set(gen.sample(language_model, 8, seed=1, max_length=10))) > 1
    assert len(set(gen.sample(language_model, 3, strategy="greedy", max_length=10))) == 1
    with pytest.raises(InputError, match=r"this is a language model \(latent_dim 0\): it has"):
        gen.encode(language_model, [ONE])


@pytest.fixture
def told(make_model: Callable[..., SentenceVAE], word_tokenizer: Tokenizer) -> SentenceVAE:
    """A lively model that is told how many and where, the former seldom one."""
    classes = {"number": {"many": 3, "one": 1}, "place": {"here": 5, "there": 5}}
    options: Any = {"seed": 5, "std": 1.5, "tokenizer": word_tokenizer, "classes": classes}
    return push(make_model(word_tokenizer.vocab_size, **options), EOS_ID, 3.0)


def test_labels_are_drawn_as_often_as_in_training(told):
    labels = gen.TextVAE.drawn_labels(told, 4000, seed=3)
    assert labels.double().mean(0).tolist() == pytest.approx([0.25, 0.5], abs=0.03)
    assert gen.TextVAE.drawn_labels(told, 9, seed=3).equal(labels[:9])
    texts = gen.sample(told, 9, seed=3)
    assert texts == gen.sample(told, 9, seed=3, labels=labels[:9])
    other = gen.sample(told, 9, seed=3, label="place=there")
    changed = [one != two for one, two in zip(texts, other, strict=True)]
    assert any(changed)
    assert not any(changed[i] for i in range(9) if labels[i, 1] == 1)


def test_the_likeliest_label_is_that_of_all_nlls(told, texts):
    sentences, best = told.tokenizer.encode_batch(texts), []
    guess = gen.likeliest_labels(told, texts)
    for number, count in enumerate((3, 1)):  # beside the guess of the other label
        labels = torch.stack([torch.full((len(texts),), number), guess[:, 1]], 1)
        nll = importance_nll(told, [collate(sentences, labels=labels.numpy())], num_samples=10)
        best.append(math.log(count) - nll.per_sentence)
    assert guess[:, 0].equal(torch.stack(best).argmax(0))
    assert 0 < guess.sum() < guess.numel()


def test_a_change_of_label_keeps_z(told):
    own = told.labels.numbered({"number": ["one", "many", "one"], "place": ["here"] * 3})
    z, new = gen.encode(told, TEXTS, labels=own).mean, own.clone()
    new[:, 1] = 1
    back = gen.reconstruct(told, TEXTS, labels=own, label="place=there")
    assert back == [one.text for one in gen.decode(told, z, labels=new)]
    assert back != gen.reconstruct(told, TEXTS, labels=own)
    guess = gen.likeliest_labels(told, TEXTS)
    assert gen.reconstruct(told, TEXTS) == gen.reconstruct(told, TEXTS, labels=guess)
    with pytest.raises(InputError, match=r"^label must be NAME=VALUE for each of number, place"):
        gen.interpolate(told, ONE, OTHER)
    assert len(gen.interpolate(told, ONE, OTHER, label="number=one,place=here")) == 5
    with pytest.raises(InputError, match=r"is told labels \(number, place\) completes no text"):
        gen.complete(told, ONE)


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


def test_every_function_on_a_model_is_a_method():
    for name, function in vars(gen).items():
        if inspect.isfunction(function) and next(iter(function.__annotations__)) == "model":
            method = {"encode": "encode_texts"}.get(name, name)
            if name != "check_texts":
                assert getattr(gen.TextVAE, method) is function, name
            if name in textvae.__all__:
                assert getattr(textvae, name) is function
    assert textvae.TextVAE is gen.TextVAE


def test_a_saved_model_reads_and_writes(lively_model, tmp_path):
    lively_model.save_pretrained(tmp_path / "run")
    model = gen.TextVAE.from_pretrained(tmp_path / "run")
    assert isinstance(model, SentenceVAE)
    assert not model.training
    path = model.interpolate(ONE, OTHER, steps=7, max_length=9)
    assert path == gen.interpolate(lively_model, ONE, OTHER, steps=7, max_length=9)
    assert [one.text for one in model.decode(model.path_codes(ONE, OTHER), max_length=9)] == (
        model.interpolate(ONE, OTHER, max_length=9)
    )
    expected = gen.encode(lively_model, [ONE, OTHER]).mean
    torch.testing.assert_close(model.encode_texts([ONE, OTHER]).mean, expected)
    with pytest.raises(InputError, match="steps must be at least 2, got 1"):
        model.interpolate(ONE, OTHER, steps=1)
