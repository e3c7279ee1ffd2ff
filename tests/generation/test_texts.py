"""Tests of `textvae.generation.texts`: encode, sample, reconstruct, jitter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from textvae.batches import Batch
from textvae.generation import (
    check_texts,
    decode,
    encode,
    interpolate,
    jitter,
    reconstruct,
    sample,
)
from textvae.generation import (
    texts as texts_module,
)
from textvae.generation.streams import NOISE, uniforms
from textvae.generation.texts import jitter_codes, reconstruct_codes, sample_codes, speak
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, UNK_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]
Push = Callable[[SentenceVAE, int, float], SentenceVAE]


def test_encoding_equals_the_model_on_a_batch(
    tiny_model: SentenceVAE,
    make_batch: MakeBatch,
    word_tokenizer: Tokenizer,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for most in (2**14, 9, 1):  # all at once, a few, one by one
        monkeypatch.setattr(texts_module, "MAX_TOKENS", most)
        posterior = encode(tiny_model, texts)
        assert posterior.mu.shape == posterior.logvar.shape == (len(texts), 3)
        assert not posterior.mu.requires_grad
        for i, text in enumerate(texts):
            alone = tiny_model.encode(make_batch([word_tokenizer.encode(text)]))
            torch.testing.assert_close(posterior.mu[i : i + 1], alone.mu)
            torch.testing.assert_close(posterior.logvar[i : i + 1], alone.logvar)


def test_batches_are_of_like_length_and_bounded(
    tiny_model: SentenceVAE, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    inner = tiny_model.encode
    monkeypatch.setattr(
        tiny_model, "encode", lambda batch: shapes.append(batch.target_ids.shape) or inner(batch)
    )
    monkeypatch.setattr(texts_module, "MAX_TOKENS", 10)
    encode(tiny_model, texts)
    # Tokens per text: 5 3 6 2 3 3, and each batch is as wide as its longest with EOS.
    assert [(rows, width - 1) for rows, width in shapes] == [(3, 3), (2, 5), (1, 6)]


def test_unknown_words_are_read_as_one(tiny_model: SentenceVAE) -> None:
    mu = encode(tiny_model, ["the zebra runs", "the <unk> runs", "the dog runs"]).mu
    torch.testing.assert_close(mu[0], mu[1])
    assert not torch.allclose(mu[0], mu[2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "texts must hold at least one sentence, got 0"),
        (["a dog", ""], "text 2 must have at least one token, got ''"),
        (["a dog", "a cat", " \t"], r"text 3 must have at least one token, got ' \\t'"),
        (["a dog", "a <eos> dog"], "text 2 contains the reserved token <eos>"),
    ],
)
def test_texts_that_cannot_be_encoded_are_refused(
    tiny_model: SentenceVAE, given: list[str], message: str
) -> None:
    for function in (encode, reconstruct, check_texts):
        with pytest.raises(ValueError, match=message):
            function(tiny_model, given)


def test_a_text_longer_than_the_run_allowed_is_refused(tiny_model: SentenceVAE) -> None:
    given = ["a dog", "the dog sees the old cat"]
    message = "text 2 must have at most 5 tokens, as in training, got 6"
    for function in (encode, check_texts):
        with pytest.raises(ValueError, match=message):
            function(tiny_model, given, max_tokens=5)
        function(tiny_model, given, max_tokens=6)


def test_one_string_is_no_sequence_of_texts(tiny_model: SentenceVAE) -> None:
    with pytest.raises(TypeError, match="texts must be a sequence of sentences, got the string"):
        encode(tiny_model, "a dog")


def test_a_language_model_has_nothing_to_encode(language_model: SentenceVAE) -> None:
    for call in (
        lambda: encode(language_model, ["a dog"]),
        lambda: reconstruct(language_model, ["a dog"]),
        lambda: interpolate(language_model, "a dog", "a cat"),
        lambda: jitter(language_model, "a dog"),
        lambda: sample(language_model, 2, source="aggregate", texts=["a dog"]),
    ):
        with pytest.raises(
            ValueError, match=r"this is a language model \(latent_dim 0\): it has no latent code"
        ):
            call()


def test_a_model_without_tokenizer_says_so(make_model: MakeModel) -> None:
    model = make_model()
    for call in (lambda: sample(model, 2), lambda: encode(model, ["a dog"])):
        with pytest.raises(ValueError, match=r"the model has no tokenizer: build it"):
            call()


def test_text_is_bounded_by_default(tiny_model: SentenceVAE, push: Push) -> None:
    push(tiny_model, EOS_ID, -1e9)
    assert [len(text.split()) for text in sample(tiny_model, 2)] == [200, 200]


def test_samples_have_no_unknown_words_unless_asked(tiny_model: SentenceVAE, push: Push) -> None:
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
    assert sample(tiny_model, 8, seed=3, max_length=10) == first
    assert sample(tiny_model, 8, seed=4, max_length=10) != first
    assert len(first) == 8
    assert sample(tiny_model, 8, seed=3, max_length=10, batch_size=3) == first
    assert sample(tiny_model, 3, seed=3, max_length=10) == first[:3]


def test_samples_come_from_the_prior(lively_model: SentenceVAE, word_tokenizer: Tokenizer) -> None:
    place = torch.arange(12)[:, None]
    z = torch.special.ndtri(uniforms(7, NOISE, place, torch.arange(3))).float()
    ids = decode(lively_model, z, max_length=8, allow_unknown=False)
    found = sample(lively_model, 12, seed=7, strategy="greedy", max_length=8)
    assert found == word_tokenizer.decode_batch(ids)
    assert len(set(found)) > 1


def test_samples_of_the_aggregate_come_from_posteriors(
    lively_model: SentenceVAE, texts: list[str]
) -> None:
    with torch.no_grad():  # posteriors so narrow that a draw is the mean
        lively_model.head.logvar.weight.zero_()
        lively_model.head.logvar.bias.fill_(-40.0)
    options: dict[str, Any] = {"strategy": "greedy", "max_length": 8, "allow_unknown": True}
    found = sample(lively_model, 60, source="aggregate", texts=texts, **options)
    assert set(found) == set(reconstruct(lively_model, texts, max_length=8))
    prior = sample(lively_model, 60, **options)
    assert set(prior) > set(found) or set(prior) - set(found)


def test_a_language_model_samples(language_model: SentenceVAE) -> None:
    assert len(set(sample(language_model, 8, seed=1, max_length=10))) > 1
    assert len(set(sample(language_model, 3, strategy="greedy", max_length=10))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sentences": 0}, "num_sentences must be at least 1, got 0"),
        ({"num_sentences": -1}, "num_sentences must be at least 1, got -1"),
        ({"source": "posterior"}, "source must be one of prior, aggregate, got 'posterior'"),
        ({"source": "aggregate"}, "texts must be given with source 'aggregate' only"),
        ({"texts": ["a dog"]}, "texts must be given with source 'aggregate' only, got 'prior'"),
        ({"strategy": "best"}, "strategy must be one of greedy, sample, beam, got 'best'"),
        ({"top_p": 1.5}, r"top_p must be above 0 and at most 1, got 1\.5"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_arguments_of_sample_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sample(tiny_model, **{"num_sentences": 2, **arguments})


def test_reconstructions_are_greedy_from_the_mean(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    expected = decode(lively_model, encode(lively_model, texts).mu, max_length=9)
    found = reconstruct(lively_model, tuple(texts), max_length=9)
    assert found == [word_tokenizer.decode(ids) for ids in expected]
    assert len(set(found)) > 1, "the order must show"
    assert reconstruct(lively_model, texts[1:2], max_length=9) == found[1:2]


def test_reconstructions_through_a_draw(lively_model: SentenceVAE, texts: list[str]) -> None:
    def back(seed: int) -> list[str]:
        return reconstruct(lively_model, texts, sampled=True, seed=seed, max_length=9)

    assert back(0) == back(0)
    assert back(0) != back(1)
    with torch.no_grad():
        lively_model.head.logvar.weight.zero_()
        lively_model.head.logvar.bias.fill_(-40.0)
    assert back(0) == reconstruct(lively_model, texts, max_length=9)


def test_jitter_goes_as_far_as_it_is_told(lively_model: SentenceVAE) -> None:
    still = jitter(lively_model, "a dog runs", 4, scale=0.0, max_length=8)
    assert still == reconstruct(lively_model, ["a dog runs"], max_length=8) * 4
    z = jitter_codes(lively_model, "a dog runs", 3000, scale=0.5)
    posterior = encode(lively_model, ["a dog runs"])
    sigma = torch.exp(0.5 * posterior.logvar)[0]
    torch.testing.assert_close(z.std(0) / sigma, torch.full((3,), 0.5), atol=0.05, rtol=0)
    centre = (z.mean(0) - posterior.mu[0]) / sigma
    assert centre.abs().max() < 5 * 0.5 / math.sqrt(3000)


def test_codes_are_those_that_are_decoded(lively_model: SentenceVAE, texts: list[str]) -> None:
    short: dict[str, Any] = {"max_length": 9, "seed": 2}
    drawn: dict[str, Any] = {**short, "strategy": "sample", "allow_unknown": False}
    like: dict[str, Any] = {"source": "aggregate", "texts": texts}
    calls = [
        (sample(lively_model, 9, **short), sample_codes(lively_model, 9, seed=2), drawn),
        (
            sample(lively_model, 9, **like, **short),
            sample_codes(lively_model, 9, seed=2, **like),
            drawn,
        ),
        (reconstruct(lively_model, texts, **short), reconstruct_codes(lively_model, texts), short),
        (
            reconstruct(lively_model, texts, sampled=True, **short),
            reconstruct_codes(lively_model, texts, sampled=True, seed=2),
            short,
        ),
        (
            jitter(lively_model, texts[1], 9, scale=3.0, **short),
            jitter_codes(lively_model, texts[1], 9, scale=3.0, seed=2),
            short,
        ),
    ]
    for sentences, z, options in calls:
        assert z.shape == (len(sentences), 3)
        assert speak(lively_model, z, **options) == sentences
        assert len(set(sentences)) > 1


def test_jitter_is_seeded(lively_model: SentenceVAE) -> None:
    first = jitter(lively_model, "a dog runs", 9, scale=3.0, seed=1, max_length=8)
    assert len(first) == 9
    assert jitter(lively_model, "a dog runs", 4, scale=3.0, seed=1, max_length=8) == first[:4]
    assert jitter(lively_model, "a dog runs", 9, scale=3.0, seed=2, max_length=8) != first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sentences": 0}, "num_sentences must be at least 1, got 0"),
        ({"scale": -1.0}, r"scale must be finite and at least 0, got -1\.0"),
        ({"scale": math.nan}, "scale must be finite and at least 0, got nan"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_arguments_of_jitter_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        jitter(tiny_model, "a dog", **arguments)
