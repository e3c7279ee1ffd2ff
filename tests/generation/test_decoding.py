"""Tests of `decode`: greedy decoding, drawing, and the rules that every strategy keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError
from textvae.generation import STRATEGIES, Decoded, decode, filters
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]


def ids_of(model: SentenceVAE, z: Tensor, **options: Any) -> list[list[int]]:
    return [found.ids for found in decode(model, z, **options)]


def codes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def push(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
    """Make one token likelier, or less likely, everywhere."""
    with torch.no_grad():
        model.decoder.output.bias[token] += by
    return model


def greedy_by_likelihood(
    model: SentenceVAE, make_batch: MakeBatch, z: Tensor, max_length: int
) -> list[int]:
    """One sentence: every continuation is scored from its beginning, and the best one kept."""
    content = [UNK_ID, *range(4, model.vocab_size)]
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
    found = ids_of(model, z, max_length=8)
    assert found == [greedy_by_likelihood(model, make_batch, code, 8) for code in z]
    assert len({len(ids) for ids in found}) >= 3, "sentences must end at unlike times"
    assert max(map(len, found)) == 8, "one must not have ended"


def test_sentences_that_end_early_leave_the_others_alone(lively_model: SentenceVAE) -> None:
    z = codes(12, 3) * 2
    together = ids_of(lively_model, z, max_length=8)
    assert len(set(map(tuple, together))) > 3
    assert together == [ids_of(lively_model, z[i : i + 1], max_length=8)[0] for i in range(12)]
    order = torch.tensor([7, 3, 11, 0, 2, 9, 1, 4, 10, 5, 8, 6])
    assert ids_of(lively_model, z[order], max_length=8) == [together[i] for i in order]


def test_a_longer_limit_only_continues(lively_model: SentenceVAE) -> None:
    z = codes(12, 3)
    short, long = (ids_of(lively_model, z, max_length=limit) for limit in (3, 9))
    assert [ids[:3] for ids in long] == short


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("max_length", [1, 13])
def test_a_model_that_never_ends_is_stopped(
    tiny_model: SentenceVAE, strategy: str, max_length: int
) -> None:
    push(tiny_model, EOS_ID, -1e9)
    found = ids_of(tiny_model, codes(6, 3), strategy=strategy, max_length=max_length)
    assert [len(ids) for ids in found] == [max_length] * 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_that_ends_at_once_says_nothing(tiny_model: SentenceVAE, strategy: str) -> None:
    push(tiny_model, EOS_ID, 1e9)
    assert ids_of(tiny_model, codes(3, 3), strategy=strategy) == [[], [], []]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_and_beginning_never_come_out(tiny_model: SentenceVAE, strategy: str) -> None:
    push(push(tiny_model, PAD_ID, 1e4), BOS_ID, 1e4)
    found = ids_of(tiny_model, codes(20, 3), strategy=strategy, max_length=20)
    assert {PAD_ID, BOS_ID, EOS_ID}.isdisjoint({token for ids in found for token in ids})
    assert any(found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_codes_give_no_sentences(tiny_model: SentenceVAE, strategy: str) -> None:
    assert ids_of(tiny_model, torch.zeros(0, 3), strategy=strategy) == []


def test_decoding_leaves_codes_and_gradients_alone(tiny_model: SentenceVAE) -> None:
    z = codes(4, 3)
    before = z.clone()
    ids_of(tiny_model, z, strategy="sample")
    assert z.equal(before)
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

    found = ids_of(tiny_model, z, strategy="sample", temperature=temperature, max_length=1)
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
    found = ids_of(tiny_model, z, strategy="sample", max_length=2)
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


DRAWING: list[dict[str, Any]] = [
    {},
    {"temperature": 2.0},
    {"top_k": 4},
    {"top_p": 0.8},
    {"typical_p": 0.8},
    {"min_length": 2},
]


@pytest.mark.parametrize("options", DRAWING, ids=str)
def test_draws_do_not_depend_on_the_batch(
    lively_model: SentenceVAE, options: dict[str, Any]
) -> None:
    z = codes(23, 3) * 2
    arguments = {"strategy": "sample", "max_length": 8, "seed": 3, **options}
    together = decode(lively_model, z, **arguments)
    assert len({len(found.ids) for found in together}) > 2
    for batch_size in (1, 7):
        apart = decode(lively_model, z, batch_size=batch_size, **arguments)
        assert [found.ids for found in apart] == [found.ids for found in together]
        torch.testing.assert_close(
            *(torch.tensor([x.log_prob for x in y]) for y in (apart, together))
        )
    fewer = ids_of(lively_model, z[:5], **arguments)
    assert fewer == [found.ids for found in together[:5]]


def test_the_seed_decides_the_draws(tiny_model: SentenceVAE) -> None:
    z = codes(8, 3)
    state = torch.random.get_rng_state()
    first = ids_of(tiny_model, z, strategy="sample", max_length=10)
    assert torch.random.get_rng_state().equal(state), "the global generator must not move"
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=0) == first
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=1) != first


def test_equal_codes_draw_unlike_sentences(tiny_model: SentenceVAE) -> None:
    found = ids_of(tiny_model, torch.zeros(30, 3), strategy="sample", max_length=6)
    assert len(set(map(tuple, found))) > 15


@pytest.mark.parametrize("filtered", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-5}])
def test_the_narrowest_draw_is_greedy(lively_model: SentenceVAE, filtered: dict[str, Any]) -> None:
    z = codes(12, 3) * 2
    found = ids_of(lively_model, z, strategy="sample", max_length=8, **filtered)
    assert found == ids_of(lively_model, z, max_length=8)


def test_filters_reach_the_draw(tiny_model: SentenceVAE) -> None:
    z = codes(1, 3).expand(2000, -1)
    with torch.no_grad():
        scores, _ = tiny_model.step(torch.tensor([BOS_ID]), tiny_model.initial_state(z[:1]), z[:1])
    scores[:, [PAD_ID, BOS_ID]] = -math.inf
    for option, value, kept in (
        ("top_k", 3, filters.top_k(scores, 3)),
        ("top_p", 0.7, filters.top_p(scores, 0.7)),
        ("typical_p", 0.7, filters.typical(scores, 0.7)),
    ):
        found = ids_of(tiny_model, z, strategy="sample", max_length=1, **{option: value})
        firsts = {ids[0] if ids else EOS_ID for ids in found}
        assert firsts == set(kept[0].isfinite().nonzero()[:, 0].tolist()), option


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "sample", "temperature": 2.0, "top_k": 5},
        {"strategy": "greedy", "min_length": 3, "forbidden": [5]},
        {"strategy": "beam", "num_beams": 3, "length_penalty": 1.0},
        {"strategy": "beam", "num_beams": 3, "allow_unknown": False},
    ],
    ids=str,
)
def test_log_probabilities_are_those_of_the_model(
    lively_model: SentenceVAE, make_batch: MakeBatch, options: dict[str, Any]
) -> None:
    z = codes(12, 3) * 2
    found = decode(lively_model, z, max_length=8, **options)
    assert all(isinstance(one, Decoded) for one in found)
    cut = [len(one.ids) == 8 for one in found]
    assert True in cut, "one must not have ended"
    assert False in cut
    batch = make_batch([one.ids for one in found], truncated=cut)
    with torch.no_grad():
        expected = lively_model.log_likelihood(batch, z)
    torch.testing.assert_close(torch.tensor([one.log_prob for one in found]), expected)
    assert [one.ids for one in found] == ids_of(lively_model, z, max_length=8, **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_sentence_is_shorter_than_asked(lively_model: SentenceVAE, strategy: str) -> None:
    z = codes(20, 3) * 2
    free = ids_of(lively_model, z, strategy=strategy, max_length=9)
    assert min(map(len, free)) < 4
    found = ids_of(lively_model, z, strategy=strategy, min_length=4, max_length=9)
    lengths = set(map(len, found))
    assert min(lengths) == 4
    assert max(lengths) <= 9
    for ids, long in zip(free, found, strict=True):
        if strategy == "greedy" and len(ids) >= 4:
            assert long == ids
    assert ids_of(lively_model, z[:2], strategy=strategy, min_length=9, max_length=9) != []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_forbidden_tokens_do_not_come(lively_model: SentenceVAE, strategy: str) -> None:
    z = codes(30, 3) * 2
    push(lively_model, UNK_ID, 4.0)

    def said(**options: Any) -> set[int]:
        found = ids_of(lively_model, z, strategy=strategy, max_length=8, **options)
        return {token for ids in found for token in ids}

    free = said()
    assert UNK_ID in free
    assert UNK_ID not in said(allow_unknown=False)
    words = sorted(free - {UNK_ID})[:3]
    assert said(forbidden=words).isdisjoint(words)
    assert said(forbidden=words) >= {UNK_ID}
    assert all(
        len(ids) == 8 for ids in ids_of(lively_model, z, strategy=strategy, forbidden=[EOS_ID],
                                        max_length=8)
    )  # fmt: skip


def test_the_last_word_is_said_to_the_end(tiny_model: SentenceVAE) -> None:
    size = tiny_model.vocab_size
    options = {"forbidden": [UNK_ID, *range(4, size - 1)], "min_length": 3, "max_length": 3}
    for strategy in STRATEGIES:
        found = ids_of(tiny_model, codes(2, 3), strategy=strategy, **options)
        assert found == [[size - 1] * 3] * 2


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
    ],
)
def test_arguments_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        decode(tiny_model, codes(2, 3), **arguments)


def test_nothing_but_the_end_may_come(tiny_model: SentenceVAE) -> None:
    found = ids_of(tiny_model, codes(2, 3), forbidden=range(4, 13), allow_unknown=False)
    assert found == [[], []]


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 2, 3)])
def test_codes_of_another_shape_are_refused(
    tiny_model: SentenceVAE, shape: tuple[int, ...]
) -> None:
    message = re.escape(f"z must have the shape (sentences, 3), got {shape}")
    with pytest.raises(InputError, match=message):
        ids_of(tiny_model, codes(*shape))


def test_an_option_that_does_not_exist_is_refused(tiny_model: SentenceVAE) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        decode(tiny_model, codes(2, 3), temprature=1.0)


@pytest.mark.parametrize(
    ("number", "options", "message"),
    [
        (0, {"strategy": "beam"}, "num_best must be at least 1 and at most 5, got 0"),
        (
            3,
            {"strategy": "beam", "num_beams": 2},
            "num_best must be at least 1 and at most 2, got 3",
        ),
        (2, {}, "num_best must be at least 1 and at most 1, got 2"),
    ],
)
def test_n_best_lists_are_of_beam_search(
    tiny_model: SentenceVAE, number: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        decode(tiny_model, codes(2, 3), num_best=number, **options)


def test_a_model_without_tokenizer_says_so(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=r"the model has no tokenizer: build it"):
        ids_of(make_model(), codes(2, 3))
