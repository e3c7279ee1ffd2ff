"""Tests of `textvae.generation`."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textvae.batch import Batch
from textvae.generation import STRATEGIES, decode, encode, interpolate, reconstruct, sample
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]


def codes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def push(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
    """Make one token likelier, or less likely, everywhere."""
    with torch.no_grad():
        model.decoder.output.bias[token] += by
    return model


@pytest.fixture
def language_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    return make_model(word_tokenizer.vocab_size, latent_dim=0, tokenizer=word_tokenizer)


@pytest.fixture
def lively_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    """One whose sentences differ with z and end at unlike times, some never."""
    size = word_tokenizer.vocab_size
    return push(make_model(size, seed=5, std=1.5, tokenizer=word_tokenizer), EOS_ID, 3.0)


def greedy_by_likelihood(
    model: SentenceVAE, make_batch: MakeBatch, z: Tensor, max_length: int
) -> list[int]:
    """One sentence: every continuation is scored from its beginning, and the best one kept."""
    content = [UNK_ID, *range(4, model.arguments["vocab_size"])]
    ids: list[int] = []
    while len(ids) < max_length:
        ends = make_batch([ids])
        longer = make_batch([[*ids, word] for word in content], truncated=[True] * len(content))
        with torch.no_grad():
            end = model.log_likelihood(ends, z[None]).item()
            going = model.log_likelihood(longer, z.expand(len(content), -1)).tolist()
        if end > max(going):
            break
        ids.append(content[going.index(max(going))])
    return ids


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 5},
        {"seed": 0, "decoder_cell": "gru", "latent_to": "state"},
        {"seed": 3, "decoder_num_layers": 2, "latent_to": "input"},
        {"seed": 1, "decoder_num_layers": 2, "decoder_cell": "gru"},
    ],
)
def test_greedy_equals_one_sentence_at_a_time(
    make_model: MakeModel,
    make_batch: MakeBatch,
    word_tokenizer: Tokenizer,
    arguments: dict[str, object],
) -> None:
    size = word_tokenizer.vocab_size
    model = make_model(size, tokenizer=word_tokenizer, std=1.5, **arguments)
    push(model, EOS_ID, 3.0)
    z = codes(12, 3) * 2
    found = decode(model, z, max_length=8)
    assert found == [greedy_by_likelihood(model, make_batch, code, 8) for code in z]
    assert len({len(ids) for ids in found}) >= 3, "sentences must end at unlike times"
    assert max(map(len, found)) == 8, "one must not have ended"


def test_sentences_that_end_early_leave_the_others_alone(lively_model: SentenceVAE) -> None:
    z = codes(12, 3) * 2
    together = decode(lively_model, z, max_length=8)
    assert len(set(map(tuple, together))) > 3
    assert together == [decode(lively_model, z[i : i + 1], max_length=8)[0] for i in range(12)]
    order = torch.tensor([7, 3, 11, 0, 2, 9, 1, 4, 10, 5, 8, 6])
    assert decode(lively_model, z[order], max_length=8) == [together[i] for i in order]


def test_a_cold_draw_is_greedy(lively_model: SentenceVAE) -> None:
    z = codes(12, 3) * 2
    cold = decode(lively_model, z, strategy="sample", temperature=1e-5, max_length=8)
    assert cold == decode(lively_model, z, max_length=8)


def test_a_longer_limit_only_continues(lively_model: SentenceVAE) -> None:
    z = codes(12, 3)
    short, long = (decode(lively_model, z, max_length=limit) for limit in (3, 9))
    assert [ids[:3] for ids in long] == short


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("max_length", [1, 13])
def test_a_model_that_never_ends_is_stopped(
    tiny_model: SentenceVAE, strategy: str, max_length: int
) -> None:
    push(tiny_model, EOS_ID, -1e9)
    found = decode(tiny_model, codes(6, 3), strategy=strategy, max_length=max_length)
    assert [len(ids) for ids in found] == [max_length] * 6


def test_text_is_bounded_by_default(tiny_model: SentenceVAE) -> None:
    push(tiny_model, EOS_ID, -1e9)
    assert [len(text.split()) for text in sample(tiny_model, 2)] == [200, 200]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_that_ends_at_once_says_nothing(tiny_model: SentenceVAE, strategy: str) -> None:
    push(tiny_model, EOS_ID, 1e9)
    assert decode(tiny_model, codes(3, 3), strategy=strategy) == [[], [], []]
    assert sample(tiny_model, 2, strategy=strategy) == ["", ""]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_and_beginning_never_come_out(tiny_model: SentenceVAE, strategy: str) -> None:
    push(push(tiny_model, PAD_ID, 1e4), BOS_ID, 1e4)
    found = decode(tiny_model, codes(20, 3), strategy=strategy, max_length=20)
    assert {PAD_ID, BOS_ID, EOS_ID}.isdisjoint({token for ids in found for token in ids})
    assert any(found)


def test_unknown_words_are_visible(tiny_model: SentenceVAE) -> None:
    push(push(tiny_model, UNK_ID, 1e4), EOS_ID, -1e9)
    assert sample(tiny_model, 1, max_length=3) == ["<unk> <unk> <unk>"]


def test_no_codes_give_no_sentences(tiny_model: SentenceVAE) -> None:
    assert decode(tiny_model, torch.zeros(0, 3)) == []


def test_decoding_leaves_codes_and_gradients_alone(tiny_model: SentenceVAE) -> None:
    z = codes(4, 3)
    before = z.clone()
    decode(tiny_model, z, strategy="sample")
    assert z.equal(before)
    assert not encode(tiny_model, ["a dog runs"]).mu.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_first_tokens_come_as_often_as_they_are_likely(
    tiny_model: SentenceVAE, temperature: float
) -> None:
    draws = 4000
    z = codes(1, 3).expand(draws, -1)
    with torch.no_grad():
        scores, _ = tiny_model.step(torch.tensor([BOS_ID]), tiny_model.initial_state(z[:1]), z[:1])
    weights = (scores[0].double() / temperature).exp()
    weights[[PAD_ID, BOS_ID]] = 0
    expected = (weights / weights.sum()).tolist()

    generator = torch.Generator().manual_seed(0)
    found = decode(
        tiny_model,
        z,
        strategy="sample",
        temperature=temperature,
        max_length=1,
        generator=generator,
    )
    firsts = [ids[0] if ids else EOS_ID for ids in found]
    for token, probability in enumerate(expected):
        deviation = math.sqrt(probability * (1 - probability) / draws)
        share = firsts.count(token) / draws
        assert share == pytest.approx(probability, abs=5 * deviation + 1e-9), token
    assert 0.02 < max(expected) < 0.98, "the draw must be one"


def test_later_tokens_follow_the_drawn_ones(tiny_model: SentenceVAE) -> None:
    # The share of each second token given the first one drawn, for the likeliest first one.
    draws = 4000
    z = codes(1, 3).expand(draws, -1)
    generator = torch.Generator().manual_seed(0)
    found = decode(tiny_model, z, strategy="sample", max_length=2, generator=generator)
    begun = [ids for ids in found if ids]
    first = max({ids[0] for ids in begun}, key=[ids[0] for ids in begun].count)
    seconds = [ids[1] if len(ids) > 1 else EOS_ID for ids in begun if ids[0] == first]
    with torch.no_grad():
        state = tiny_model.initial_state(z[:1])
        for token in (BOS_ID, first):
            scores, state = tiny_model.step(torch.tensor([token]), state, z[:1])
    weights = scores[0].double().exp()
    weights[[PAD_ID, BOS_ID]] = 0
    for token, probability in enumerate((weights / weights.sum()).tolist()):
        deviation = math.sqrt(probability * (1 - probability) / len(seconds))
        share = seconds.count(token) / len(seconds)
        assert share == pytest.approx(probability, abs=5 * deviation + 1e-9), token


def test_the_same_seed_gives_the_same_sentences(tiny_model: SentenceVAE) -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = sample(tiny_model, 8, seed=3, max_length=10)
    assert torch.random.get_rng_state().equal(state), "the global generator must not move"
    torch.manual_seed(1)
    assert sample(tiny_model, 8, seed=3, max_length=10) == first
    assert sample(tiny_model, 8, seed=4, max_length=10) != first
    assert len(first) == 8


def test_samples_differ_in_z_even_when_decoded_greedily(tiny_model: SentenceVAE) -> None:
    push(tiny_model, EOS_ID, -1e9)
    assert len(set(sample(tiny_model, 12, strategy="greedy", max_length=10))) > 1


def test_a_generator_decides_the_tokens(tiny_model: SentenceVAE) -> None:
    z = codes(8, 3)

    def draw(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return decode(tiny_model, z, strategy="sample", max_length=10, generator=generator)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_language_model_samples(language_model: SentenceVAE) -> None:
    sentences = sample(language_model, 8, seed=1, max_length=10)
    assert len(set(sentences)) > 1
    assert len(set(sample(language_model, 3, strategy="greedy", max_length=10))) == 1


def test_encoding_equals_the_model_on_a_batch(
    tiny_model: SentenceVAE, make_batch: MakeBatch, word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    posterior = encode(tiny_model, texts)
    assert posterior.mu.shape == posterior.logvar.shape == (len(texts), 3)
    for i, text in enumerate(texts):
        alone = tiny_model.encode(make_batch([word_tokenizer.encode(text)]))
        torch.testing.assert_close(posterior.mu[i : i + 1], alone.mu)
        torch.testing.assert_close(posterior.logvar[i : i + 1], alone.logvar)


def test_unknown_words_and_empty_texts_are_read(tiny_model: SentenceVAE) -> None:
    mu = encode(tiny_model, ["the zebra runs", "the <unk> runs", ""]).mu
    torch.testing.assert_close(mu[0], mu[1])
    assert mu.isfinite().all()


def test_reconstructions_are_greedy_from_the_mean(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    expected = decode(lively_model, encode(lively_model, texts).mu, max_length=9)
    found = reconstruct(lively_model, tuple(texts), max_length=9)
    assert found == [word_tokenizer.decode(ids) for ids in expected]
    assert len(set(found)) > 1, "the order must show"
    assert reconstruct(lively_model, texts[1:2], max_length=9) == found[1:2]


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_interpolation_ends_at_both_reconstructions(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, texts: list[str], steps: int
) -> None:
    ends = reconstruct(lively_model, texts[:2], max_length=9)
    path = interpolate(lively_model, texts[0], texts[1], steps=steps, max_length=9)
    assert len(path) == steps
    assert [path[0], path[-1]] == ends
    assert ends[0] != ends[1]
    start, end = encode(lively_model, texts[:2]).mu
    for place, sentence in enumerate(path):
        share = place / (steps - 1)
        z = (1 - share) * start + share * end
        ids = decode(lively_model, z[None], max_length=9)
        assert sentence == word_tokenizer.decode(ids[0])


def test_interpolation_between_a_text_and_itself_stays(lively_model: SentenceVAE) -> None:
    path = interpolate(lively_model, "a dog runs", "a dog runs", max_length=9)
    assert path == reconstruct(lively_model, ["a dog runs"], max_length=9) * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "beam"}, "strategy must be one of greedy, sample, got 'beam'"),
        ({"temperature": 0.0}, r"temperature must be finite and above 0, got 0\.0"),
        ({"temperature": -1.0}, r"temperature must be finite and above 0, got -1\.0"),
        ({"temperature": math.nan}, "temperature must be finite and above 0, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_arguments_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(tiny_model, codes(2, 3), **arguments)
    with pytest.raises(ValueError, match=message):
        sample(tiny_model, 2, **arguments)
    if "max_length" in arguments:
        with pytest.raises(ValueError, match=message):
            reconstruct(tiny_model, ["a dog"], max_length=0)
        with pytest.raises(ValueError, match=message):
            interpolate(tiny_model, "a dog", "a cat", max_length=0)


@pytest.mark.parametrize("number", [0, -1])
def test_at_least_one_sentence_must_be_asked_for(tiny_model: SentenceVAE, number: int) -> None:
    with pytest.raises(ValueError, match=f"num_sentences must be at least 1, got {number}"):
        sample(tiny_model, number)


@pytest.mark.parametrize("steps", [1, 0])
def test_a_path_has_two_ends(tiny_model: SentenceVAE, steps: int) -> None:
    with pytest.raises(ValueError, match=rf"steps must be at least 2 \(both ends\), got {steps}"):
        interpolate(tiny_model, "a dog", "a cat", steps=steps)


def test_no_texts_are_refused(tiny_model: SentenceVAE) -> None:
    for function in (encode, reconstruct):
        with pytest.raises(ValueError, match="at least one sentence, got 0"):
            function(tiny_model, [])


def test_a_reserved_token_in_a_text_is_refused(tiny_model: SentenceVAE) -> None:
    with pytest.raises(ValueError, match="text 2 contains the reserved token <eos>"):
        reconstruct(tiny_model, ["a dog", "a <eos> dog"])


def test_a_language_model_has_nothing_to_encode(language_model: SentenceVAE) -> None:
    message = r"this is a language model \(latent_dim 0\): it has no latent code"
    with pytest.raises(ValueError, match=message):
        encode(language_model, ["a dog"])
    with pytest.raises(ValueError, match=message):
        reconstruct(language_model, ["a dog"])
    with pytest.raises(ValueError, match=message):
        interpolate(language_model, "a dog", "a cat")


def test_a_model_without_tokenizer_says_so(make_model: MakeModel) -> None:
    model = make_model()
    for call in (
        lambda: decode(model, codes(2, 3)),
        lambda: sample(model, 2),
        lambda: encode(model, ["a dog"]),
    ):
        with pytest.raises(ValueError, match=r"the model has no tokenizer: set model\.tokenizer"):
            call()
