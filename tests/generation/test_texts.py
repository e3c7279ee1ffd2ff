"""Tests of `textvae.generation.texts`: encoding, codes, and text in, text out."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.generation.building import draw_codes, push
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.generation import (
    aggregate_codes,
    analogy,
    analogy_codes,
    attribute_vector,
    check_texts,
    encode,
    generate_text,
    interpolate,
    jitter,
    jittered_codes,
    lerp,
    path_codes,
    posterior_codes,
    prior_codes,
    reconstruct,
    sample,
    shift,
    slerp,
    traversal_codes,
    traverse,
)
from textvae.generation import texts as module
from textvae.generation.draws import NOISE, uniforms
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, UNK_ID, Tokenizer

MakeBatch = Callable[..., Batch]

ONE, OTHER, THIRD = TEXTS = ["the cat sees a dog", "a dog runs", "cats run"]
NINE: dict[str, Any] = {"max_length": 9}
DRAWN: dict[str, Any] = {**NINE, "strategy": "sample", "seed": 2}
KNOWN: dict[str, Any] = {**DRAWN, "allow_unknown": False}
LIKE: dict[str, Any] = {"source": "aggregate", "texts": TEXTS}

Make = Callable[[SentenceVAE], Any]


@pytest.fixture
def narrow_model(lively_model: SentenceVAE) -> SentenceVAE:
    """One with posteriors so narrow that a draw is the mean."""
    with torch.no_grad():
        lively_model.head.logvar.weight.zero_()
        lively_model.head.logvar.bias.fill_(-40.0)
    return lively_model


@pytest.mark.parametrize("most", [2**14, 9, 1])  # all at once, a few, one by one
def test_encoding_equals_the_model_on_a_batch(
    tiny_model: SentenceVAE,
    make_batch: MakeBatch,
    word_tokenizer: Tokenizer,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", most)
    posterior = encode(tiny_model, texts)
    assert posterior.mean.shape == posterior.variance.shape == (len(texts), 3)
    assert not posterior.mean.requires_grad
    for i, text in enumerate(texts):
        alone = tiny_model.encode(make_batch([word_tokenizer.encode(text)]))
        torch.testing.assert_close(posterior.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(posterior.variance[i : i + 1], alone.variance)


def test_batches_are_of_like_length_and_bounded(
    tiny_model: SentenceVAE, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    inner = tiny_model.encode
    monkeypatch.setattr(
        tiny_model, "encode", lambda batch: shapes.append(batch.target_ids.shape) or inner(batch)
    )
    monkeypatch.setattr(module, "MAX_TOKENS", 10)
    encode(tiny_model, texts)
    # Tokens per text: 5 3 6 2 3 3, and each batch is as wide as its longest with EOS.
    assert [(rows, width - 1) for rows, width in shapes] == [(3, 3), (2, 5), (1, 6)]


def test_unknown_words_are_read_as_one(tiny_model: SentenceVAE) -> None:
    mean = encode(tiny_model, ["the zebra runs", "the <unk> runs", "the dog runs"]).mean
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
def test_texts_that_cannot_be_encoded_are_refused(
    tiny_model: SentenceVAE, given: list[str], message: str
) -> None:
    for function in (encode, check_texts):
        with pytest.raises(InputError, match=message):
            function(tiny_model, given, max_tokens=5)
    check_texts(tiny_model, ["the dog sees the cat"], max_tokens=5)


def test_one_string_is_no_sequence_of_texts(tiny_model: SentenceVAE) -> None:
    with pytest.raises(TypeError, match="texts must be a sequence of sentences, got the string"):
        encode(tiny_model, "a dog")


def test_codes_of_the_prior_belong_to_their_places(tiny_model: SentenceVAE) -> None:
    z = prior_codes(tiny_model, 12, seed=7)
    place = torch.arange(12)[:, None]
    assert z.equal(torch.special.ndtri(uniforms(7, NOISE, place, torch.arange(3))).float())
    assert prior_codes(tiny_model, 5, seed=7).equal(z[:5])
    assert not prior_codes(tiny_model, 12).equal(z)


def test_codes_of_the_aggregate_are_those_of_texts(
    narrow_model: SentenceVAE, texts: list[str]
) -> None:
    means = encode(narrow_model, texts).mean
    z = aggregate_codes(narrow_model, 60, texts, seed=1)
    nearest = (z[:, None] - means).norm(dim=-1).min(1)
    assert nearest.values.max() < 1e-4
    assert set(nearest.indices.tolist()) == set(range(6))
    assert aggregate_codes(narrow_model, 7, texts, seed=1).equal(z[:7])


def test_codes_of_posteriors(lively_model: SentenceVAE, texts: list[str]) -> None:
    posterior = encode(lively_model, texts)
    assert posterior_codes(lively_model, texts).equal(posterior.mean)
    drawn = posterior_codes(lively_model, texts, sampled=True, seed=3)
    assert drawn.equal(posterior.sample(prior_codes(lively_model, 6, seed=3)))
    assert not drawn.equal(posterior_codes(lively_model, texts, sampled=True))


def test_jitter_goes_as_far_as_it_is_told(lively_model: SentenceVAE) -> None:
    posterior = encode(lively_model, ["a dog runs"])
    still = jittered_codes(lively_model, "a dog runs", 4, scale=0.0)
    assert still.equal(posterior.mean.expand(4, -1))
    z = jittered_codes(lively_model, "a dog runs", 3000, scale=0.5)
    sigma = posterior.variance.sqrt()[0]
    torch.testing.assert_close(z.std(0) / sigma, torch.full((3,), 0.5), atol=0.05, rtol=0)
    assert ((z.mean(0) - posterior.mean[0]) / sigma).abs().max() < 5 * 0.5 / math.sqrt(3000)
    assert jittered_codes(lively_model, "a dog runs", 4, scale=0.5).equal(z[:4])
    assert not jittered_codes(lively_model, "a dog runs", 4, scale=0.5, seed=1).equal(z[:4])


@pytest.mark.parametrize("method", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [2, 3, 6])
def test_a_path_goes_from_mean_to_mean(
    lively_model: SentenceVAE, texts: list[str], steps: int, method: str
) -> None:
    means = encode(lively_model, texts[:3]).mean
    z = path_codes(lively_model, *texts[:3], steps=steps, method=method)
    way = {"linear": lerp, "spherical": slerp}[method]
    shares = torch.arange(steps) / (steps - 1)
    expected = [way(means[0], means[1], shares), way(means[1], means[2], shares)[1:]]
    torch.testing.assert_close(z, torch.cat(expected))
    torch.testing.assert_close(z[:: steps - 1], means)


def test_traversing_sets_one_dimension(lively_model: SentenceVAE) -> None:
    z = traversal_codes(lively_model, "a dog runs", 1, low=-4.0, high=2.0, steps=4)
    expected = encode(lively_model, ["a dog runs"]).mean.repeat(4, 1)
    expected[:, 1] = torch.tensor([-4.0, -2.0, 0.0, 2.0])
    torch.testing.assert_close(z, expected)
    assert traversal_codes(lively_model, "a dog", 0)[:, 0].tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_an_analogy_is_a_sum_of_codes(lively_model: SentenceVAE, texts: list[str]) -> None:
    for a, b, c in permutations(texts[:4], 3):
        one, other, third = encode(lively_model, [a, b, c]).mean
        torch.testing.assert_close(
            analogy_codes(lively_model, a, b, c), (one - other + third)[None]
        )


def test_an_attribute_is_a_difference_of_means(lively_model: SentenceVAE, texts: list[str]) -> None:
    mean = encode(lively_model, texts).mean
    vector = attribute_vector(lively_model, texts[:2], texts[2:])
    torch.testing.assert_close(vector, (mean[0] + mean[1]) / 2 - mean[2:].sum(0) / 4)


@pytest.mark.parametrize(
    ("function", "given", "options", "message"),
    [
        (prior_codes, [0], {}, "num_sentences must be at least 1, got 0"),
        (prior_codes, [-1], {}, "num_sentences must be at least 1, got -1"),
        (aggregate_codes, [2, []], {}, "texts must hold at least one sentence, got 0"),
        (jittered_codes, [ONE, 0], {}, "num_sentences must be at least 1, got 0"),
        (jittered_codes, [ONE], {"scale": -1.0}, r"scale must be in \[0, inf\), got -1\.0"),
        (jittered_codes, [ONE], {"scale": math.nan}, r"scale must be in \[0, inf\), got nan"),
        (path_codes, [ONE], {}, r"texts must be at least 2 sentences \(both ends\), got 1"),
        (path_codes, [ONE, OTHER], {"steps": 1}, "steps must be at least 2, got 1"),
        (path_codes, [ONE, OTHER], {"method": "cubic"}, "method must be one of linear, spherical,"),
        (path_codes, [ONE, ""], {}, "text 2 must have at least one token, got ''"),
        (traversal_codes, [ONE, 3], {}, "dim must be at least 0 and at most 2, got 3"),
        (traversal_codes, [ONE, -1], {}, "dim must be at least 0 and at most 2, got -1"),
        (traversal_codes, [ONE, 1], {"steps": 1}, "steps must be at least 2, got 1"),
        (traversal_codes, [ONE, 1], {"low": 3.0}, "low must be finite and below high, got 3.0 and"),
        (traversal_codes, [ONE, 1], {"high": math.inf}, "low must be finite and below high, got"),
        (analogy_codes, [ONE, "", OTHER], {}, "text 2 must have at least one token, got ''"),
        (attribute_vector, [[ONE], []], {}, "texts must hold at least one sentence, got 0"),
    ],
)
def test_arguments_outside_their_range_are_refused(
    tiny_model: SentenceVAE,
    function: Callable[..., Any],
    given: list[Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        function(tiny_model, *given, **options)


def test_a_language_model_has_nothing_to_encode(language_model: SentenceVAE) -> None:
    for call in (
        lambda: encode(language_model, [ONE]),
        lambda: aggregate_codes(language_model, 2, [ONE]),
        lambda: path_codes(language_model, ONE, OTHER),
        lambda: traversal_codes(language_model, ONE, 0),
    ):
        with pytest.raises(InputError, match=r"this is a language model \(latent_dim 0\): it has"):
            call()


def test_an_arc_keeps_length_and_angle() -> None:
    start, end = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    arc = slerp(start, end, torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    angles = torch.tensor([0.0, math.pi / 6, math.pi / 4, math.pi / 2])
    expected = 2 * torch.stack([angles.cos(), angles.sin(), torch.zeros(4)], dim=1)
    torch.testing.assert_close(arc, expected)


@pytest.mark.parametrize("way", [lerp, slerp])
def test_ways_meet_their_ends(way: Callable[..., Tensor]) -> None:
    for seed in range(20):
        start, end = draw_codes(2, 5, seed=seed) * torch.tensor([[3.0], [0.5]])
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
def test_where_there_is_no_arc_it_is_a_line(start: list[float], end: list[float]) -> None:
    shares = torch.linspace(0, 1, 5)
    ends = torch.tensor(start), torch.tensor(end)
    torch.testing.assert_close(slerp(*ends, shares), lerp(*ends, shares))


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
