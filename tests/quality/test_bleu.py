"""Tests of `textvae.quality.bleu`: against sacrebleu, and against answers worked out by hand."""

from __future__ import annotations

import math
import sys
import time
from random import Random

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from textvae.quality import (
    ReconstructionFigures,
    bleu,
    exact_match,
    reconstruction_figures,
    self_bleu,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "<unk>", "."]), max_size=9).map(" ".join)


def quadratic_self_bleu(texts: list[str]) -> float:
    """As it is defined: sacrebleu's sentence BLEU with all the others as references."""
    scores = [
        sacrebleu.sentence_bleu(text, texts[:i] + texts[i + 1 :], tokenize="none").score
        for i, text in enumerate(texts)
    ]
    return math.fsum(scores) / len(scores)


@given(st.lists(WORDS, min_size=2, max_size=7))
def test_self_bleu_is_sacrebleus(texts: list[str]) -> None:
    assert self_bleu(texts) == pytest.approx(quadratic_self_bleu(texts), abs=1e-9)


@given(st.lists(WORDS, min_size=2, max_size=7), st.randoms())
def test_self_bleu_knows_no_order(texts: list[str], random: Random) -> None:
    shuffled = random.sample(texts, len(texts))
    assert self_bleu(shuffled) == pytest.approx(self_bleu(texts), abs=1e-9)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a b c d", "a b c d"], 100.0),  # each has its double
        (["a b c d"] * 3 + ["x"], 75.0),  # the fourth shares nothing
        (["a b", "c d"], 0.0),  # nothing shared, nothing smoothed
        (["a", "a"], 100.0),  # no more words in a row than there are
        (["", ""], 0.0),  # nothing said
        (["a a", "a a"], 100.0),
        # Of "a a", one a is in "a" and no pair: (1/2 · 1/2)^(1/2) with the smoothed pair 1/2.
        # "a" is whole in "a a", but half as long: exp(1 − 2).
        (["a a", "a"], 50 * (0.5 + math.exp(-1))),
        # Lengths 1 and 3 are as near to 2: the shorter counts, so that "a b" is not too short.
        (["a b", "a", "a b c"], 100 * (1 + math.exp(-1) + math.exp(math.log(2 / 3 / 4) / 3)) / 3),
    ],
)
def test_self_bleu_by_hand(texts: list[str], expected: float) -> None:
    assert self_bleu(texts) == pytest.approx(expected)


def test_self_bleu_of_many_takes_no_longer_a_text() -> None:
    random = Random(0)
    texts = [" ".join(random.choices("abcdefghij", k=12)) for _ in range(3000)]
    began = time.perf_counter()
    self_bleu(texts)
    assert time.perf_counter() - began < 10  # every pair compared takes minutes


@pytest.mark.parametrize("texts", [[], ["a"]])
def test_self_bleu_needs_two(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=f"texts must be at least 2, got {len(texts)}"):
        self_bleu(texts)


@pytest.mark.parametrize(
    ("reconstructions", "texts", "expected"),
    [
        (["a b c d e"], ["a b c d e"], 100.0),
        (["a b c d"], ["w x y z"], 0.0),
        # Precisions 4/5, 3/4, 2/3, 1/2: of a corpus, so no smoothing is needed.
        (["a b c d x"], ["a b c d e"], 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        # As good a beginning, but four words for five: exp(1 − 5/4).
        (["a b c d"], ["a b c d e"], 100 * math.exp(-0.25)),
        # <unk> and full stops are words like any other.
        (["a <unk> b ."], ["a <unk> b ."], 100.0),
        (["a  b c\td"], [" a b c d"], 100.0),  # and white space is no word
    ],
)
def test_bleu_by_hand(reconstructions: list[str], texts: list[str], expected: float) -> None:
    assert bleu(reconstructions, texts) == pytest.approx(expected)


def test_bleu_is_of_the_corpus_not_a_mean() -> None:
    whole = bleu(["a b c d", "a x y z w"], ["a b c d", "a b c d e"])
    # 5 of 9 words, 3 of 7 pairs, 2 of 5 triples, 1 of 3 fours are right; all lengths are.
    assert whole == pytest.approx(100 * (5 / 9 * 3 / 7 * 2 / 5 * 1 / 3) ** 0.25)


def test_exact_match_is_word_for_word() -> None:
    texts = ["a b", "a b", "a b", "a b"]
    assert exact_match(["a b", " a  b", "b a", "a"], texts) == 0.5


def test_both_together() -> None:
    found = reconstruction_figures(["a b c d", "x"], ["a b c d", "y"])
    assert found == ReconstructionFigures(2, bleu(["a b c d", "x"], ["a b c d", "y"]), 0.5)


@pytest.mark.parametrize("measure", [bleu, exact_match, reconstruction_figures])
@pytest.mark.parametrize(("given", "texts"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_pairs_are_pairs(measure: object, given: list[str], texts: list[str]) -> None:
    message = f"equally many and at least 1, got {len(given)} and {len(texts)}"
    with pytest.raises(ValueError, match=message):
        measure(given, texts)  # type: ignore[operator]


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r'needs sacrebleu: pip install "textvae\[quality\]"'):
        bleu(["a"], ["a"])
    assert self_bleu(["a", "a"]) == 100.0  # which needs none
