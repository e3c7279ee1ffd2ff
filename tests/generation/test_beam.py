"""Tests of beam search."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.generation.building import draw_codes, push
from textvae.batches import Batch
from textvae.generation import Decoded, decode
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, UNK_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]


@pytest.fixture(scope="module")
def toy_model(make_model: MakeModel) -> SentenceVAE:
    """Three words and `<unk>`: all sentences of four tokens can be counted."""
    model = make_model(seed=2, std=1.0, vocab_size=7, tokenizer=Tokenizer.train(["a b c"]))
    return push(model, EOS_ID, 1.0)


def n_best(model: SentenceVAE, z: Tensor, num_best: int, **options: Any) -> list[list[Decoded]]:
    found = decode(model, z, strategy="beam", num_best=num_best, **options)
    return [[one, *one.others] for one in found]


def score(one: Decoded, penalty: float, max_length: int) -> float:
    """What a search with a length penalty ranks by; EOS counted where there is one."""
    return one.log_prob / min(len(one.ids) + 1, max_length) ** penalty


def every_sentence(
    model: SentenceVAE, make_batch: MakeBatch, z: Tensor, max_length: int, penalty: float = 0.0
) -> list[tuple[float, list[int]]]:
    """Every sentence of up to `max_length` tokens, the best score first."""
    content = [UNK_ID, *range(4, model.vocab_size)]
    sentences = [
        list(ids)
        for length in range(max_length + 1)
        for ids in itertools.product(content, repeat=length)
    ]
    cut = [len(ids) == max_length for ids in sentences]
    batch = make_batch(sentences, truncated=cut)
    with torch.no_grad():
        log_probs = model.log_likelihood(batch, z.expand(len(sentences), -1))
    scores = log_probs / batch.lengths**penalty
    return sorted(zip(scores.tolist(), sentences, strict=True), reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
def test_a_wide_beam_is_exact(
    toy_model: SentenceVAE, make_batch: MakeBatch, penalty: float
) -> None:
    # 341 sentences in all: none is ever crowded out.
    z = draw_codes(9, 3) * 2
    found = n_best(toy_model, z, 6, num_beams=341, max_length=4, length_penalty=penalty)
    for code, best in zip(z, found, strict=True):
        expected = every_sentence(toy_model, make_batch, code[None], 4, penalty)[:6]
        assert [score(one, penalty, 4) for one in best] == pytest.approx(
            [score for score, _ in expected]
        )
        assert [one.ids for one in best] == [ids for _, ids in expected]
    assert {len(one.ids) for best in found for one in best} >= {0, 1, 4}


def test_a_beam_wider_than_all_sentences_gives_them_all(
    toy_model: SentenceVAE, make_batch: MakeBatch
) -> None:
    z = draw_codes(2, 3)
    found = n_best(toy_model, z, 400, num_beams=400, max_length=2)
    assert [len(best) for best in found] == [1 + 4 + 16] * 2
    expected = every_sentence(toy_model, make_batch, z[:1], 2)
    assert [one.log_prob for one in found[0]] == pytest.approx([score for score, _ in expected])
    shortest = n_best(toy_model, draw_codes(3, 3), 30, num_beams=30, max_length=1)
    assert [len(best) for best in shortest] == [5, 5, 5], "four words, and the end at once"


@pytest.mark.parametrize("options", [{}, {"length_penalty": 1.0}, {"min_length": 3}], ids=str)
def test_one_beam_is_greedy(lively_model: SentenceVAE, options: dict[str, Any]) -> None:
    z = draw_codes(40, 3) * 2
    rules = {"min_length": options.get("min_length", 0)}
    greedy = decode(lively_model, z, max_length=8, **rules)
    found = decode(lively_model, z, strategy="beam", num_beams=1, max_length=8, **options)
    assert [one.ids for one in found] == [one.ids for one in greedy]
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in greedy])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [2, 3, 5])
def test_never_under_greedy(make_model: MakeModel, seed: int, width: int) -> None:
    model = make_model(seed=seed, std=1.2, tokenizer=Tokenizer.train(["a b c d e f g h i"]))
    z = draw_codes(40, 3) * 2
    greedy = decode(model, z, max_length=9)
    found = decode(model, z, strategy="beam", num_beams=width, max_length=9)
    gains = [best.log_prob - one.log_prob for best, one in zip(found, greedy, strict=True)]
    assert min(gains) > -1e-4
    assert max(gains) > 0.1, "the search must find something"


def search_by_hand(
    model: SentenceVAE, make_batch: MakeBatch, z: Tensor, width: int, max_length: int
) -> list[list[int]]:
    """What a plain search finds, best first: ends keep their places, greedy always has one."""
    content = [UNK_ID, *range(4, model.vocab_size)]
    cut = [False] + [True] * len(content)
    open_, ended, left = [(True, list[int]())], list[Any](), list[Any]()
    for _ in range(max_length):
        candidates = []
        for is_greedy, ids in open_:
            grown = [ids, *([*ids, word] for word in content)]
            with torch.no_grad():
                batch = make_batch(grown, truncated=cut)
                log_probs = model.log_likelihood(batch, z.expand(len(cut), -1)).tolist()
            best = sorted(zip(log_probs, grown, cut, strict=True), reverse=True)
            candidates += [(is_greedy and one is best[0], *one) for one in best]
        won = sorted(candidates, reverse=True)[: width - len(ended)]
        ended += [one[1:3] for one in won if not one[3]]
        left = [one[1:3] for one in won if one[3]]
        open_ = [(one[0], one[2]) for one in won if one[3]]
    return [ids for _, ids in sorted(ended + left, reverse=True)]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_narrow_beam_is_a_plain_search(
    lively_model: SentenceVAE, make_batch: MakeBatch, width: int
) -> None:
    z = draw_codes(25, 3) * 2
    found = n_best(lively_model, z, width, num_beams=width, max_length=6)
    expected = [search_by_hand(lively_model, make_batch, code[None], width, 6) for code in z]
    assert [[one.ids for one in best] for best in found] == expected


@pytest.mark.parametrize("options", [{}, {"length_penalty": 1.0}, {"min_length": 2}], ids=str)
def test_beams_of_other_sentences_do_not_matter(
    lively_model: SentenceVAE, options: dict[str, Any]
) -> None:
    z = draw_codes(17, 3) * 2
    arguments = {"num_beams": 4, "max_length": 8, **options}
    together = n_best(lively_model, z, 3, **arguments)
    for batch_size in (1, 5):
        apart = n_best(lively_model, z, 3, batch_size=batch_size, **arguments)
        assert [[x.ids for x in y] for y in apart] == [[x.ids for x in y] for y in together]
