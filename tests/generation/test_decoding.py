"""`decode` and its options: greedy decoding, drawing, beam search, and the rules they keep."""

import itertools
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.draws import draws as draws_of
from tests.generation.conftest import MakeModel, push
from textvae.batches import collate
from textvae.checks import InputError
from textvae.generation import NUM_BEAMS, STRATEGIES, Decoded, Decoding, decode, decoding, draws
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer

any_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def codes(num_codes: int, scale: float = 1.0) -> Tensor:
    return draws_of(num_codes, 3, seed=1) * scale


def ids_of(model: SentenceVAE, z: Tensor, **options: Any) -> list[list[int]]:
    return [found.ids for found in decode(model, z, **options)]


def log_p(model: SentenceVAE, sentences: list[list[int]], cut: list[bool], z: Tensor) -> Tensor:
    """The model's own log p of sentences, (B,), each given the same z (1, Z) or its own."""
    with torch.no_grad():
        return model.log_likelihood(collate(sentences, truncated=cut), z.expand(len(cut), -1))


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


def content(model: SentenceVAE) -> list[int]:
    return [UNK_ID, *range(4, model.vocab_size)]


def greedy_by_likelihood(model: SentenceVAE, z: Tensor, max_length: int) -> list[int]:
    """One sentence: every continuation is scored from its beginning, and the best one kept."""
    ids: list[int] = []
    while len(ids) < max_length:
        grown = [ids, *([*ids, word] for word in content(model))]
        best = log_p(model, grown, [False] + [True] * (len(grown) - 1), z[None]).argmax()
        if best == 0:
            break
        ids = grown[best]
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
def test_greedy_equals_one_sentence_at_a_time(make_model, word_tokenizer, arguments):
    model = push(make_model(tokenizer=word_tokenizer, std=1.5, **arguments), EOS_ID, 3.0)
    z = codes(12, 2)
    found = ids_of(model, z, max_length=8)
    assert found == [greedy_by_likelihood(model, code, 8) for code in z]
    assert len({len(ids) for ids in found}) >= 3, "sentences must end at unlike times"
    assert max(map(len, found)) == 8, "one must not have ended"
    shorter = ids_of(model, z, max_length=3)
    assert shorter == [ids[:3] for ids in found], "a longer limit only continues"


@any_strategy
@pytest.mark.parametrize("max_length", [1, 13])
def test_ends_come_by_the_limit_and_may_come_at_once(tiny_model, strategy, max_length):
    options: dict[str, Any] = {"strategy": strategy, "max_length": max_length}
    push(tiny_model, EOS_ID, 1e9)
    assert ids_of(tiny_model, codes(3), **options) == [[], [], []]
    push(tiny_model, EOS_ID, -2e9)
    assert [len(ids) for ids in ids_of(tiny_model, codes(6), **options)] == [max_length] * 6
    assert decode(tiny_model, torch.zeros(0, 3), **options) == []


@pytest.mark.parametrize("padding", [0.0, 1e4])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_tokens_come_as_often_as_they_are_likely(tiny_model, temperature, padding):
    z = codes(1).expand(4000, -1)
    push(tiny_model, PAD_ID, padding)  # what must not come has no share, however likely
    options = {"strategy": "sample", "temperature": temperature, "max_length": 2}
    found = [[*ids, EOS_ID][:2] for ids in ids_of(tiny_model, z, **options)]
    firsts = [ids[0] for ids in found]
    assert_frequent(firsts, next_scores(tiny_model, z) / temperature)
    first = max(set(firsts) - {EOS_ID}, key=firsts.count)
    seconds = [ids[1] for ids in found if ids[0] == first]
    assert_frequent(seconds, next_scores(tiny_model, z, first) / temperature)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "beam"},
        {"strategy": "beam", "num_beams": 4, "num_best": 3},
        {"strategy": "beam", "num_best": 3, "length_penalty": 1.0},
        {"strategy": "beam", "min_length": 2},
        {},
        {"temperature": 2.0},
        {"top_k": 4},
        {"top_p": 0.8},
        {"typical_p": 0.8},
        {"min_length": 2},
    ],
    ids=str,
)
def test_sentences_do_not_depend_on_the_batch(lively_model, monkeypatch, options):
    def sentences(found: list[Decoded]) -> list[Decoded]:
        return [each for one in found for each in (one, *one.others)]

    z = codes(23, 2)
    arguments = {"strategy": "sample", "max_length": 8, **options}
    decoded = decode(lively_model, z, **arguments)
    together = sentences(decoded)
    assert len({len(found.ids) for found in together}) > 2
    few = decode(lively_model, z[:5], **arguments)
    assert [found.ids for found in few] == [found.ids for found in decoded[:5]]
    for batch_size, rows in ((1, 1), (7, 3), (None, 5)):
        monkeypatch.setattr(decoding, "cached_rows", lambda scores, rows=rows: rows)
        apart = sentences(decode(lively_model, z, batch_size=batch_size, **arguments))
        assert [found.ids for found in apart] == [found.ids for found in together]
        log_probs = [found.log_prob for found in apart]
        assert log_probs == pytest.approx([found.log_prob for found in together], rel=1e-5)


def test_the_seed_decides_the_draws(tiny_model):
    z = codes(8)
    state = torch.random.get_rng_state()
    first = ids_of(tiny_model, z, strategy="sample", max_length=10)
    assert torch.random.get_rng_state().equal(state), "the global generator must not move"
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=0) == first
    assert ids_of(tiny_model, z, strategy="sample", max_length=10, seed=1) != first
    equal = ids_of(tiny_model, torch.zeros(30, 3), strategy="sample", max_length=6)
    assert len(set(map(tuple, equal))) > 15, "equal codes must draw unlike sentences"


@pytest.mark.parametrize("filtered", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-5}])
def test_the_narrowest_draw_is_greedy(lively_model, filtered):
    z = codes(12, 2)
    found = ids_of(lively_model, z, strategy="sample", max_length=8, **filtered)
    assert found == ids_of(lively_model, z, max_length=8)


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [("top_k", 3, draws.top_k), ("top_p", 0.7, draws.top_p), ("typical_p", 0.7, draws.typical)],
)
def test_filters_reach_the_draw(tiny_model, option, value, kept):
    z = codes(1).expand(2000, -1)
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
def test_text_and_log_probability_are_those_of_the_ids(lively_model, options, padding):
    push(lively_model, PAD_ID, padding)  # what must not come counts in log p all the same
    z = codes(30, 2)
    before = z.clone()
    found = decode(lively_model, z, max_length=8, **options)
    cut = [len(one.ids) == 8 for one in found]
    assert {*cut} == {True, False}, "some must have ended, and some not"
    expected = log_p(lively_model, [one.ids for one in found], cut, z)
    torch.testing.assert_close(torch.tensor([one.log_prob for one in found]), expected)
    tokenizer = lively_model.tokenizer
    assert [one.text for one in found] == [tokenizer.decode(one.ids) for one in found]
    assert {one.others for one in found} == {()}
    assert z.equal(before)
    assert torch.is_grad_enabled()


@any_strategy
def test_no_sentence_is_shorter_than_asked(lively_model, strategy):
    z = codes(20, 2)
    free = ids_of(lively_model, z, strategy=strategy, max_length=9)
    assert min(map(len, free)) < 4
    found = ids_of(lively_model, z, strategy=strategy, min_length=4, max_length=9)
    assert (min(map(len, found)), max(map(len, found))) == (4, 9)
    if strategy == "greedy":
        long = [(ids, other) for ids, other in zip(free, found, strict=True) if len(ids) >= 4]
        assert all(ids == other for ids, other in long)
    full = ids_of(lively_model, z[:2], strategy=strategy, min_length=9, max_length=9)
    assert [len(ids) for ids in full] == [9, 9]


@any_strategy
def test_forbidden_tokens_do_not_come(lively_model, strategy):
    z = codes(30, 2)
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


@pytest.fixture(scope="module")
def toy_model(make_model: MakeModel) -> SentenceVAE:
    """Three words and `<unk>`: all sentences of four tokens can be counted."""
    model = make_model(seed=2, std=1.0, vocab_size=7, tokenizer=Tokenizer.train(["a b c"]))
    return push(model, EOS_ID, 1.0)


def n_best(model: SentenceVAE, z: Tensor, num_best: int, **options: Any) -> list[list[Decoded]]:
    found = decode(model, z, strategy="beam", num_best=num_best, **options)
    return [[one, *one.others] for one in found]


def every_sentence(
    model: SentenceVAE, z: Tensor, max_length: int, penalty: float = 0.0
) -> list[tuple[float, list[int]]]:
    """Every sentence of up to `max_length` tokens, the best score first."""
    lengths = range(max_length + 1)
    choices = (itertools.product(content(model), repeat=length) for length in lengths)
    sentences = [list(ids) for each in choices for ids in each]
    cut = [len(ids) == max_length for ids in sentences]
    counted = torch.tensor([min(len(ids) + 1, max_length) for ids in sentences])  # with EOS
    scores = log_p(model, sentences, cut, z) / counted**penalty
    return sorted(zip(scores.tolist(), sentences, strict=True), reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_is_exact(toy_model, penalty):
    # 341 sentences in all: none is ever crowded out.
    z = codes(9, 2)
    found = n_best(toy_model, z, 6, num_beams=341, max_length=4, length_penalty=penalty)
    for code, best in zip(z, found, strict=True):
        expected = every_sentence(toy_model, code[None], 4, penalty)[:6]
        scores = [one.log_prob / min(len(one.ids) + 1, 4) ** penalty for one in best]
        assert scores == pytest.approx([score for score, _ in expected])
        assert [one.ids for one in best] == [ids for _, ids in expected]
    assert {len(one.ids) for best in found for one in best} >= {0, 1, 4}


def test_a_beam_wider_than_all_sentences_gives_them_all(toy_model):
    z = codes(2)
    found = n_best(toy_model, z, 400, num_beams=400, max_length=2)
    assert [len(best) for best in found] == [1 + 4 + 16] * 2
    expected = every_sentence(toy_model, z[:1], 2)
    assert [one.log_prob for one in found[0]] == pytest.approx([score for score, _ in expected])
    shortest = n_best(toy_model, z, 30, num_beams=30, max_length=1)
    assert [len(best) for best in shortest] == [5, 5], "four words, and the end at once"


@pytest.mark.parametrize("options", [{}, {"length_penalty": 1.0}, {"min_length": 3}], ids=str)
def test_one_beam_is_greedy(lively_model, options):
    z = codes(40, 2)
    rules = {"min_length": options.get("min_length", 0)}
    greedy = decode(lively_model, z, max_length=8, **rules)
    found = decode(lively_model, z, strategy="beam", num_beams=1, max_length=8, **options)
    assert [one.ids for one in found] == [one.ids for one in greedy]
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in greedy])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_beam_is_never_under_greedy(make_model, seed, width):
    model = make_model(seed=seed, std=1.2, tokenizer=Tokenizer.train(["a b c d e f g h i"]))
    z = codes(40, 2)
    greedy = decode(model, z, max_length=9)
    found = decode(model, z, strategy="beam", num_beams=width, max_length=9)
    gains = [best.log_prob - one.log_prob for best, one in zip(found, greedy, strict=True)]
    assert min(gains) > -1e-4
    assert max(gains) > 0.1, "the search must find something"


def search_by_hand(model: SentenceVAE, z: Tensor, width: int, max_length: int) -> list[list[int]]:
    """What a plain search finds, best first: ends keep their places, greedy always has one."""
    cut = [False] + [True] * len(content(model))
    open_, ended, left = [(True, list[int]())], list[Any](), list[Any]()
    for _ in range(max_length):
        candidates = []
        for is_greedy, ids in open_:
            grown = [ids, *([*ids, word] for word in content(model))]
            log_probs = log_p(model, grown, cut, z).tolist()
            best = sorted(zip(log_probs, grown, cut, strict=True), reverse=True)
            candidates += [(is_greedy and one is best[0], *one) for one in best]
        won = sorted(candidates, reverse=True)[: width - len(ended)]
        ended += [one[1:3] for one in won if not one[3]]
        left = [one[1:3] for one in won if one[3]]
        open_ = [(one[0], one[2]) for one in won if one[3]]
    return [ids for _, ids in sorted(ended + left, reverse=True)]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_narrow_beam_is_a_plain_search(lively_model, width):
    z = codes(25, 2)
    found = n_best(lively_model, z, width, num_beams=width, max_length=6)
    expected = [search_by_hand(lively_model, code[None], width, 6) for code in z]
    assert [[one.ids for one in best] for best in found] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "strategy must be one of greedy, sample, beam, got 'best'"),
        ({"temperature": 0.0}, "temperature must be in (0, inf), got 0.0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_p": 1.1}, "top_p must be in (0, 1], got 1.1"),
        ({"typical_p": 2.0}, "typical_p must be in (0, 1], got 2.0"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"length_penalty": -0.5}, "length_penalty must be in [0, 50], got -0.5"),
        ({"min_length": -1}, "min_length must be at least 0, got -1"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"min_length": 4, "max_length": 3}, "min_length must be at most max_length (3), got 4"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"forbidden": [4, 13]}, "forbidden ids must be from 0 to 12, got 13"),
        ({"forbidden": [-1]}, "forbidden: an id must be at least 0, got -1"),
        ({"forbidden": range(13)}, "forbidden must leave at least one token that may come"),
        ({"forbidden": range(4, 13), "allow_unknown": False, "min_length": 1}, "come, got all"),
        ({"strategy": "beam", "num_best": 0}, "num_best must be at least 1 and at most 5, got 0"),
        ({"strategy": "beam", "num_beams": 2, "num_best": 3}, "1 and at most 2, got 3"),
        ({"num_best": 2}, "num_best must be at least 1 and at most 1, got 2"),
    ],
)
def test_options_outside_their_range_are_refused(tiny_model, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        decode(tiny_model, codes(2), **options)


@pytest.mark.parametrize(
    ("strategy", "option", "value", "owner"),
    [
        ("greedy", "temperature", 0.5, "sample"),
        ("greedy", "top_k", 3, "sample"),
        ("beam", "top_p", 0.5, "sample"),
        ("beam", "typical_p", 0.5, "sample"),
        ("greedy", "num_beams", 5, "beam"),
        ("sample", "length_penalty", 1.0, "beam"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(strategy, option, value, owner):
    message = f"^{option} is an option of strategy '{owner}' only, got strategy '{strategy}'$"
    with pytest.raises(InputError, match=message):
        Decoding(strategy=strategy, **{option: value})
    Decoding(strategy=owner, **{option: value})


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"^top_k .*; top_p .*; top_p .*; max_length ") as fault:
        Decoding(strategy="beam", temperature=1.0, top_k=2, top_p=3.0, max_length=0)
    for wrong, message in ((3, "must be a sequence, got 3"), (["x"], "an id must be an integer")):
        with pytest.raises(InputError, match=f"forbidden.* {message}"):
            Decoding(forbidden=wrong)
    assert str(fault.value).count(";") == 3


def test_only_a_search_has_beams():
    assert Decoding(strategy="beam", num_beams=2).beams == 2
    assert (Decoding(strategy="beam").beams, Decoding().beams) == (NUM_BEAMS, 1) == (5, 1)


def test_what_there_is_not_is_refused(tiny_model, make_model):
    for shape in ((3,), (2, 4), (2, 2, 3)):
        message = re.escape(f"z must have the shape (sentences, 3), got {shape}")
        with pytest.raises(InputError, match=message):
            decode(tiny_model, torch.zeros(shape))
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        decode(tiny_model, codes(2), temprature=1.0)
    with pytest.raises(InputError, match="the model has no tokenizer: build it"):
        decode(make_model(), codes(2))
