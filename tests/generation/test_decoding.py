"""Tests of `decode`: greedy decoding, drawing, and the rules that every strategy keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.generation.building import draw_codes, push
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.generation import STRATEGIES, decode, decoding, draws
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]

any_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def ids_of(model: SentenceVAE, z: Tensor, **options: Any) -> list[list[int]]:
    return [found.ids for found in decode(model, z, **options)]


def next_scores(model: SentenceVAE, z: Tensor, *past: int) -> Tensor:
    """The model's own scores of what comes after BOS and some tokens, (1, V)."""
    state = model.initial_state(z[:1])
    with torch.no_grad():
        for token in (BOS_ID, *past):
            scores, state = model.step(torch.tensor([token]), state, z[:1])
    return scores.index_fill(1, torch.tensor([PAD_ID, BOS_ID]), -math.inf)


def assert_frequent(found: list[int], scores: Tensor) -> None:
    """Tokens must come as often as scores make them likely, within five standard deviations."""
    for token, p in enumerate(scores[0].double().softmax(-1).tolist()):
        bound = 5 * math.sqrt(p * (1 - p) / len(found)) + 1e-9
        assert found.count(token) / len(found) == pytest.approx(p, abs=bound), token
        assert p < 0.98, "the draw must be one"


def greedy_by_likelihood(
    model: SentenceVAE, make_batch: MakeBatch, z: Tensor, max_length: int
) -> list[int]:
    """One sentence: every continuation is scored from its beginning, and the best one kept."""
    content = [UNK_ID, *range(4, model.vocab_size)]
    ids: list[int] = []
    while len(ids) < max_length:
        longer = make_batch([[*ids, word] for word in content], truncated=[True] * len(content))
        with torch.no_grad():
            end = model.log_likelihood(make_batch([ids]), z[None]).item()
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
    model = push(make_model(size, tokenizer=word_tokenizer, std=1.5, **arguments), EOS_ID, 3.0)
    z = draw_codes(12, 3) * 2
    found = ids_of(model, z, max_length=8)
    assert found == [greedy_by_likelihood(model, make_batch, code, 8) for code in z]
    assert len({len(ids) for ids in found}) >= 3, "sentences must end at unlike times"
    assert max(map(len, found)) == 8, "one must not have ended"
    shorter = ids_of(model, z, max_length=3)
    assert shorter == [ids[:3] for ids in found], "a longer limit only continues"


@any_strategy
@pytest.mark.parametrize("max_length", [1, 13])
def test_ends_come_by_the_limit_and_may_come_at_once(
    tiny_model: SentenceVAE, strategy: str, max_length: int
) -> None:
    options: dict[str, Any] = {"strategy": strategy, "max_length": max_length}
    push(tiny_model, EOS_ID, 1e9)
    assert ids_of(tiny_model, draw_codes(3, 3), **options) == [[], [], []]
    push(tiny_model, EOS_ID, -2e9)
    assert [len(ids) for ids in ids_of(tiny_model, draw_codes(6, 3), **options)] == [max_length] * 6
    assert decode(tiny_model, torch.zeros(0, 3), **options) == []


@any_strategy
def test_what_is_decoded_knows_its_text(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, strategy: str
) -> None:
    z = draw_codes(12, 3)
    before = z.clone()
    for found in decode(lively_model, z, strategy=strategy, max_length=8):
        assert found.text == word_tokenizer.decode(found.ids)
        assert found.others == ()
    assert z.equal(before)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("padding", [0.0, 1e4])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_first_tokens_come_as_often_as_they_are_likely(
    tiny_model: SentenceVAE, temperature: float, padding: float
) -> None:
    z = draw_codes(1, 3).expand(4000, -1)
    push(tiny_model, PAD_ID, padding)  # what must not come has no share, however likely
    found = ids_of(tiny_model, z, strategy="sample", temperature=temperature, max_length=1)
    firsts = [ids[0] if ids else EOS_ID for ids in found]
    assert_frequent(firsts, next_scores(tiny_model, z) / temperature)


def test_later_tokens_follow_the_drawn_ones(tiny_model: SentenceVAE) -> None:
    z = draw_codes(1, 3).expand(4000, -1)
    begun = [ids for ids in ids_of(tiny_model, z, strategy="sample", max_length=2) if ids]
    first = max({ids[0] for ids in begun}, key=[ids[0] for ids in begun].count)
    seconds = [ids[1] if len(ids) > 1 else EOS_ID for ids in begun if ids[0] == first]
    assert_frequent(seconds, next_scores(tiny_model, z, first))


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "beam"},
        {},
        {"temperature": 2.0},
        {"top_k": 4},
        {"top_p": 0.8},
        {"typical_p": 0.8},
        {"min_length": 2},
    ],
    ids=str,
)
def test_sentences_do_not_depend_on_the_batch(
    lively_model: SentenceVAE, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    z = draw_codes(23, 3) * 2
    arguments = {"strategy": "sample", "max_length": 8, **options}
    together = decode(lively_model, z, **arguments)
    assert len({len(found.ids) for found in together}) > 2
    few = ids_of(lively_model, z[:5], **arguments)
    assert few == [found.ids for found in together[:5]]
    for batch_size, rows in ((1, 1), (7, 3), (None, 5)):
        monkeypatch.setattr(decoding, "cached_rows", lambda scores, rows=rows: rows)
        apart = decode(lively_model, z, batch_size=batch_size, **arguments)
        assert [found.ids for found in apart] == [found.ids for found in together]
        log_probs = [found.log_prob for found in apart]
        assert log_probs == pytest.approx([found.log_prob for found in together], rel=1e-5)


def test_the_seed_decides_the_draws(tiny_model: SentenceVAE) -> None:
    z = draw_codes(8, 3)
    state = torch.random.get_rng_state()
    first = ids_of(tiny_model, z, strategy="sample", max_length=10)
    assert torch.random.get_rng_state().equal(state), "the global generator must not move"
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=0) == first
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=1) != first
    equal = ids_of(tiny_model, torch.zeros(30, 3), strategy="sample", max_length=6)
    assert len(set(map(tuple, equal))) > 15, "equal codes must draw unlike sentences"


@pytest.mark.parametrize("filtered", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-5}])
def test_the_narrowest_draw_is_greedy(lively_model: SentenceVAE, filtered: dict[str, Any]) -> None:
    z = draw_codes(12, 3) * 2
    found = ids_of(lively_model, z, strategy="sample", max_length=8, **filtered)
    assert found == ids_of(lively_model, z, max_length=8)


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [("top_k", 3, draws.top_k), ("top_p", 0.7, draws.top_p), ("typical_p", 0.7, draws.typical)],
)
def test_filters_reach_the_draw(
    tiny_model: SentenceVAE, option: str, value: float, kept: Callable[..., Tensor]
) -> None:
    z = draw_codes(1, 3).expand(2000, -1)
    found = ids_of(tiny_model, z, strategy="sample", max_length=1, **{option: value})
    stay = kept(next_scores(tiny_model, z), value)[0].isfinite()
    assert {ids[0] if ids else EOS_ID for ids in found} == set(stay.nonzero()[:, 0].tolist())


@pytest.mark.parametrize("padding", [0.0, 5.0, 1e3])
@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "sample"},
        {"strategy": "sample", "temperature": 2.0, "top_k": 5},
        {"strategy": "greedy", "min_length": 3, "forbidden": [5]},
        {"strategy": "beam", "num_beams": 3, "length_penalty": 1.0},
        {"strategy": "beam", "num_beams": 3, "allow_unknown": False},
    ],
    ids=str,
)
def test_log_probabilities_are_those_of_the_model(
    lively_model: SentenceVAE, make_batch: MakeBatch, options: dict[str, Any], padding: float
) -> None:
    push(lively_model, PAD_ID, padding)  # what must not come counts in log p all the same
    z = draw_codes(30, 3) * 2
    found = decode(lively_model, z, max_length=8, **options)
    cut = [len(one.ids) == 8 for one in found]
    assert {*cut} == {True, False}, "some must have ended, and some not"
    with torch.no_grad():
        batch = make_batch([one.ids for one in found], truncated=cut)
        expected = lively_model.log_likelihood(batch, z)
    torch.testing.assert_close(torch.tensor([one.log_prob for one in found]), expected)


@any_strategy
def test_no_sentence_is_shorter_than_asked(lively_model: SentenceVAE, strategy: str) -> None:
    z = draw_codes(20, 3) * 2
    free = ids_of(lively_model, z, strategy=strategy, max_length=9)
    assert min(map(len, free)) < 4
    found = ids_of(lively_model, z, strategy=strategy, min_length=4, max_length=9)
    lengths = set(map(len, found))
    assert min(lengths) == 4
    assert max(lengths) <= 9
    if strategy == "greedy":
        assert [ids for ids in free if len(ids) >= 4] == [
            long for ids, long in zip(free, found, strict=True) if len(ids) >= 4
        ]
    full = ids_of(lively_model, z[:2], strategy=strategy, min_length=9, max_length=9)
    assert [len(ids) for ids in full] == [9, 9]


@any_strategy
def test_forbidden_tokens_do_not_come(lively_model: SentenceVAE, strategy: str) -> None:
    z = draw_codes(30, 3) * 2
    for token, by in ((UNK_ID, 4.0), (PAD_ID, 1e4), (BOS_ID, 1e4)):
        push(lively_model, token, by)

    def said(**options: Any) -> set[int]:
        found = ids_of(lively_model, z, strategy=strategy, max_length=8, **options)
        return {token for ids in found for token in ids}

    free = said()
    assert UNK_ID in free
    assert {PAD_ID, BOS_ID, EOS_ID}.isdisjoint(free)
    assert UNK_ID not in said(allow_unknown=False)
    words = sorted(free - {UNK_ID})[:3]
    assert said(forbidden=words).isdisjoint(words)
    endless = ids_of(lively_model, z, strategy=strategy, forbidden=[EOS_ID], max_length=8)
    assert [len(ids) for ids in endless] == [8] * 30
    last = lively_model.vocab_size - 1
    options = {"forbidden": [UNK_ID, *range(4, last)], "min_length": 3, "max_length": 3}
    assert ids_of(lively_model, z[:2], strategy=strategy, **options) == [[last] * 3] * 2
    options = {"forbidden": range(4, last + 1), "allow_unknown": False}
    assert ids_of(lively_model, z[:2], strategy=strategy, **options) == [[], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, r"temperature must be in \(0, inf\), got 0\.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"forbidden": [4, 13]}, "forbidden ids must be from 0 to 12, got 13"),
        ({"forbidden": [-1]}, "forbidden ids must be from 0 to 12, got -1"),
        ({"forbidden": range(13)}, "forbidden must leave at least one token that may come"),
        (
            {"forbidden": range(4, 13), "allow_unknown": False, "min_length": 1},
            "forbidden must leave at least one token that may come, got all",
        ),
        ({"strategy": "beam", "num_best": 0}, "num_best must be at least 1 and at most 5, got 0"),
        ({"strategy": "beam", "num_beams": 2, "num_best": 3}, "num_best must .* at most 2, got 3"),
        ({"num_best": 2}, "num_best must be at least 1 and at most 1, got 2"),
    ],
)
def test_arguments_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        decode(tiny_model, draw_codes(2, 3), **arguments)


def test_what_there_is_not_is_refused(tiny_model: SentenceVAE, make_model: MakeModel) -> None:
    for shape in ((3,), (2, 4), (2, 2, 3)):
        message = re.escape(f"z must have the shape (sentences, 3), got {shape}")
        with pytest.raises(InputError, match=message):
            decode(tiny_model, draw_codes(*shape))
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        decode(tiny_model, draw_codes(2, 3), temprature=1.0)
    with pytest.raises(InputError, match="the model has no tokenizer: build it"):
        decode(make_model(), draw_codes(2, 3))
