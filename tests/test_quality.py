"""Quality of sentences: against sacrebleu, and against answers worked out by hand."""

import math
from dataclasses import asdict

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from textvae import grammar, quality
from textvae.checks import InputError

TEXT = st.lists(st.sampled_from(["a", "b", "c", "<unk>", "."]), max_size=9).map(" ".join)


def quadratic_self_bleu(texts: list[str]) -> float:
    """As it is defined: sacrebleu's sentence BLEU with all the others as references."""
    scores = [
        sacrebleu.sentence_bleu(text, texts[:i] + texts[i + 1 :], tokenize="none").score
        for i, text in enumerate(texts)
    ]
    return math.fsum(scores) / len(scores)


@given(st.lists(TEXT, min_size=2, max_size=7), st.randoms())
def test_self_bleu_is_sacrebleus_in_any_order(texts, random):
    assert quality.self_bleu(texts) == pytest.approx(quadratic_self_bleu(texts), abs=1e-9)
    shuffled = random.sample(texts, len(texts))
    assert quality.self_bleu(shuffled) == pytest.approx(quality.self_bleu(texts), abs=1e-9)


@pytest.mark.parametrize(
    ("reconstructions", "texts", "bleu", "exact"),
    [
        (["a b c d e"], ["a b c d e"], 100.0, 1.0),
        (["a b c d"], ["w x y z"], 0.0, 0.0),
        # Precisions 4/5, 3/4, 2/3, 1/2: of a corpus, so no smoothing is needed.
        (["a b c d x"], ["a b c d e"], 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, 0.0),
        # As good a beginning, but four words for five: exp(1 − 5/4).
        (["a b c d"], ["a b c d e"], 100 * math.exp(-0.25), 0.0),
        (["a <unk> b ."], ["a <unk> b ."], 100.0, 1.0),  # <unk> and full stops are words
        (["a  b c\td"], [" a b c d"], 100.0, 1.0),  # and white space is not
        # Of the corpus, not a mean: 5 of 9 words, 3 of 7 pairs, 2 of 5 triples, 1 of 3 fours.
        (["a b c d", "a x y z w"], ["a b c d", "a b c d e"], 100 * (2 / 63) ** 0.25, 0.5),
    ],
)
def test_reconstructions(reconstructions, texts, bleu, exact):
    found = quality.reconstruction_figures(reconstructions, texts)
    assert found == quality.ReconstructionFigures(len(texts), pytest.approx(bleu), exact)


TEXTS = ["a b a b a", "c", "a  b", "a b"]
TRAINING = ["b a b a", "c", "x y z"]


@pytest.mark.parametrize(
    ("order", "is_distinct", "is_novel"),
    [
        (1, 3 / 10, 0.0),  # a, b, c among ten words; all three were trained on
        (2, 2 / 6, 0.0),  # ab, ba among four and one and one; both in one sentence of the training
        (3, 2 / 3, 0.0),  # aba twice, bab once
        (4, 2 / 2, 1 / 2),  # abab, baba, of which the first is new
        (5, 1.0, 1.0),  # no training sentence has five words
        (6, 0.0, 0.0),  # and no text has six
    ],
)
def test_ngrams(order, is_distinct, is_novel):
    assert quality.distinct(TEXTS, order) == pytest.approx(is_distinct)
    assert quality.novel_ngrams(TEXTS, TRAINING, order) == pytest.approx(is_novel)


@pytest.mark.parametrize(
    ("texts", "repeated", "new"),
    [
        (["a", "b"], 0.0, 1.0),
        (TEXTS, 1 / 4, 3 / 4),  # white space does not make two sentences of "a b"; "c" is known
        (["a", "a", "a", "b"], 2 / 4, 1.0),  # one of three may stay
        (["b a  b a", "c"], 0.0, 0.0),
        (["b a b", "x"], 0.0, 1.0),  # part of a known sentence is none
        (["", ""], 1 / 2, 1.0),
    ],
)
def test_duplicates_and_novelty(texts, repeated, new):
    found = quality.text_figures(texts, TRAINING)
    assert (found.duplicates, found.novelty) == (repeated, new)


def of_lengths(lengths: list[int]) -> list[str]:
    return [" ".join(["w"] * length) for length in lengths]


LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=8)


@given(LENGTHS, LENGTHS)
def test_length_distance_is_that_of_lengths_in_order(own, others):
    """For equally many, it is the mean distance between the shortest, the next, and so on.

    The same mean is not the same lengths; how many there are of each set does not matter.
    """
    alike = sorted(own * len(others)), sorted(others * len(own))
    moved = [abs(a - b) for a, b in zip(*alike, strict=True)]
    found = quality.length_distance(of_lengths(own), of_lengths(others))
    assert found == pytest.approx(sum(moved) / len(moved), abs=1e-9)
    assert quality.length_distance(of_lengths(others), of_lengths(own)) == pytest.approx(found)


def test_all_figures_together():
    assert asdict(quality.text_figures(TEXTS, TRAINING)) == {
        "num_sentences": 4,
        "self_bleu": quality.self_bleu(TEXTS),
        "distinct": (0.3, 2 / 6, 2 / 3, 1.0),
        "duplicates": 0.25,
        "novelty": 0.75,
        "novel_4grams": 0.5,
        "length_mean": 2.5,
        "length_sd": 1.5,  # of 5, 1, 2, 2
        "length_distance": quality.length_distance(TEXTS, TRAINING),
    }


SENTENCE = "perhaps the shy nurse always treats the patients on monday morning"
PLURAL = "perhaps the shy nurses always treat the patients on monday morning"
PAST_DENIED = "perhaps the shy nurses never treated the patients on monday morning"
BROKEN = "perhaps the shy nurses never treats the patients on monday morning"


def test_what_the_grammar_accepts():
    texts = [sentence.text for sentence in grammar.sample(20, seed=1)]
    assert quality.accepted_share(texts) == 1.0
    assert quality.accepted_share([*texts, *texts, *([BROKEN] * 8), "", "<unk>"]) == 0.8


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: quality.self_bleu([]), "texts must be at least 2, got 0"),
        (lambda: quality.text_figures(["a"], TRAINING), "texts must be at least 2, got 1"),
        (lambda: quality.reconstruction_figures([], []), "many and at least 1, got 0 and 0"),
        (lambda: quality.reconstruction_figures(["a"], ["a", "b"]), "at least 1, got 1 and 2"),
        (lambda: quality.distinct(TEXTS, 0), "order must be at least 1, got 0"),
        (lambda: quality.novel_ngrams(TEXTS, TRAINING, 0), "order must be at least 1, got 0"),
        (lambda: quality.length_distance([], ["a"]), "texts must be at least 1, got 0"),
        (lambda: quality.length_distance(["a"], []), "others must be at least 1, got 0"),
        (lambda: quality.accepted_share([]), "texts must be at least 1, got 0"),
    ],
)
def test_refusals(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()


def test_a_classifier_learns_words_and_says_how_well():
    texts = [f"{word} film {number % 3}" for number in range(30) for word in ("good", "bad")]
    labels = ["praise", "blame"] * 30
    classifier, accuracy = quality.fitted_classifier(texts, labels)
    assert accuracy == 1
    assert list(classifier.predict(["a bad film", "good"])) == ["blame", "praise"]
    _, chance = quality.fitted_classifier(["a film"] * 60, labels)
    assert chance == 0.5
    with pytest.raises(InputError, match="texts of praise must be at least 5, got 4"):
        quality.fitted_classifier(texts[:8], labels[:8])
