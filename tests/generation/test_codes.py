"""Encoding, drawn codes, ways between codes, labels guessed and drawn."""

import math
from unittest.mock import Mock

import pytest
import torch

import textvae.generation as gen
from tests.draws import draws
from textvae.batches import collate
from textvae.checks import InputError
from textvae.diagnostics import importance_nll
from textvae.generation import codes as module
from textvae.generation.draws import NOISE, uniforms
from textvae.model import Gaussian

ONE, OTHER = "the cat sees a dog", "a dog runs"


@pytest.mark.parametrize(
    ("together", "shapes"),
    [
        (64, [(6, 6)]),
        # Tokens per text: 5 3 6 2 3 3, and each batch is as wide as its longest.
        (4, [(4, 3), (2, 6)]),
        (1, [(1, 2), (1, 3), (1, 3), (1, 3), (1, 5), (1, 6)]),
    ],
)
def test_encoding_is_of_batches_of_like_length(tiny_model, texts, monkeypatch, together, shapes):
    inner = tiny_model.encode
    watched = Mock(side_effect=inner)
    monkeypatch.setattr(tiny_model, "encode", watched)
    monkeypatch.setattr(module, "TOGETHER", together)
    posterior = gen.encode(tiny_model, texts)
    found = [call.args[0].target_ids.shape for call in watched.call_args_list]
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
    noise = gen.prior_codes(lively_model, 3 * len(many)).view(3, len(many), 3)
    drawn = gen.encode(lively_model, many).sample(noise).flatten(0, 1)
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
    points = Gaussian(codes, torch.full_like(codes, -40.0))
    monkeypatch.setattr(module, "encode", lambda *_, **__: points)
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
    by_default = gen.path_codes(lively_model, ONE, OTHER)
    assert by_default.equal(gen.path_codes(lively_model, ONE, OTHER, steps=5, method="linear"))


def test_traversing_sets_one_dimension(lively_model):
    z = gen.traversal_codes(lively_model, "a dog runs", 1, low=-4.0, high=2.0, steps=4)
    expected = gen.encode(lively_model, ["a dog runs"]).mean.repeat(4, 1)
    expected[:, 1] = torch.tensor([-4.0, -2.0, 0.0, 2.0])
    torch.testing.assert_close(z, expected)
    assert gen.traversal_codes(lively_model, "a dog", 0)[:, 0].tolist() == [-3, -2, -1, 0, 1, 2, 3]


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
