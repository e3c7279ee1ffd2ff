"""The embedded corpus: exact probabilities, exact entropy, the same sentences for ever."""

import hashlib
import math
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.grammar import FACTORS, entropy, log_prob, parse, sample, splits, vocabulary
from textvae.grammar.rules import build_slots

SENTENCES = sample(20_000, seed=7)
PLAIN = "surely the weary farmer often stacked the hay on sunday night"


# The same on every machine and Python version: a change here changes every published figure.
DIGEST = "7dc5976f32f335046401502e0667fc7f263df3423d4ab75da0faef2c93961cc2"


def test_sentences_are_what_they_always_were():
    sentences = [*sample(2, seed=0), *splits(0).train]
    text = "\n".join(sentence.text for sentence in sentences)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST


def test_probability_worked_out_by_hand():
    factors = 12 * 8 * 3 * 2**3  # topics, tempers, tenses and three factors of two values
    # opener 1/3, adjective 1/3, subject 1/4, frequency 1/3, no adverb 0.2, verb 1/4, "the" 0.4,
    # no quality 0.2, object 1/4, no closing 0.2, no place 0.2, day 1/7, hour 1/4.
    choices = 1 / 3 * 1 / 3 * 1 / 4 * 1 / 3 * 0.2 * 1 / 4 * 0.4
    choices *= 0.2 * 1 / 4 * 0.2 * 0.2 * 1 / 7 * 1 / 4
    assert log_prob(PLAIN) == pytest.approx(math.log(choices / factors))
    assert log_prob(f"  {PLAIN.replace(' ', '  ')}\n") == log_prob(PLAIN)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "surely the weary farmer often stacked the hay on sunday",  # no hour
        "surely the weary farmer often stacked the hay on sunday night .",  # a word too many
        "surely the weary farmer stacked the hay on sunday night",  # no frequency
        "did the weary farmer often stacked the hay on sunday night",  # verb against mood
        "does the weary farmers often stack the hay on sunday night",  # opener against number
        "surely the weary farmer often stack the hay on sunday night",  # verb against number
        "surely the weary farmer will often stacked the hay on sunday night",  # verb against tense
        "surely the weary farmer often stacked any hay on sunday night",  # any and polarity
        "surely the weary farmer often stacked their hay on sunday night",  # their and number
        "surely the weary farmer often boldly stacked the hay on sunday night",  # temper
        "surely the weary farmer often stacked the crabs on sunday night",  # object and topic
        "Surely the weary farmer often stacked the hay on sunday night",  # upper case
    ],
)
def test_outside_the_grammar(sentence):
    assert log_prob(sentence) == -math.inf
    assert parse(sentence) == []


def test_probabilities_of_every_slot_sum_to_one():
    for slot in build_slots():
        for values, options in slot.options.items():
            total = math.fsum(option.prob for option in options)
            assert total == pytest.approx(1.0, abs=1e-12), (slot.name, values)
            assert all(option.prob > 0 for option in options)
            assert len({option.words for option in options}) == len(options)


def test_probabilities_of_a_whole_sub_grammar_sum_to_its_share():
    """All that can be said once the factors are fixed has the probability of those factors."""
    factors = {name: values[0] for name, values in FACTORS.items()}
    texts, share = [""], 1.0
    fixed = ("adjective", "adverb", "object", "closing", "place", "day", "hour")  # or too many
    for slot in build_slots():
        options = slot.options[tuple(factors[name] for name in slot.given)]
        if slot.name in fixed:
            options = options[-1:]
            share *= options[0].prob
        texts = [f"{text} {' '.join(option.words)}" for text in texts for option in options]
    total = math.fsum(math.exp(log_prob(text)) for text in texts)
    assert total == pytest.approx(share / math.prod(len(values) for values in FACTORS.values()))


def test_every_sentence_has_one_derivation_with_its_own_factors():
    for sentence in SENTENCES[:2_000]:
        (derivation,) = parse(sentence.text)
        assert derivation.factors == sentence.factors
        assert derivation.log_prob == log_prob(sentence.text)


def test_words_tell_every_factor():
    """What makes the grammar unambiguous, and so its entropy exact."""
    names = ("opener", "adjective", "subject", "future", "frequency", "verb")
    slots = [slot for slot in build_slots() if slot.name in names]
    phrases = list[str]()
    for values in product(*FACTORS.values()):
        factors = dict(zip(FACTORS, values, strict=True))
        options = [slot.options[tuple(factors[name] for name in slot.given)] for slot in slots]
        phrases += [" ".join(word for o in said for word in o.words) for said in product(*options)]
    assert len(set(phrases)) == len(phrases) > 100_000


def test_entropy_is_the_mean_of_minus_log_prob():
    nats = [-log_prob(sentence.text) for sentence in SENTENCES[:5_000]]
    mean = math.fsum(nats) / len(nats)
    variance = math.fsum((value - mean) ** 2 for value in nats) / (len(nats) - 1)
    assert abs(mean - entropy()) < 4 * math.sqrt(variance / len(nats))


def test_factors_are_uniform_and_independent():
    for name, values in FACTORS.items():
        counts = Counter(sentence.factors[name] for sentence in SENTENCES)
        assert set(counts) == set(values)
        share = 1 / len(values)
        error = math.sqrt(share * (1 - share) / len(SENTENCES))
        for value in values:
            assert abs(counts[value] / len(SENTENCES) - share) < 5 * error, (name, value)
    both = Counter((s.factors["tense"], s.factors["mood"]) for s in SENTENCES)
    error = math.sqrt(1 / 6 * 5 / 6 / len(SENTENCES))
    assert all(abs(count / len(SENTENCES) - 1 / 6) < 5 * error for count in both.values())


def test_sentences_have_11_to_20_words():
    lengths = [
        [len(option.words) for options in slot.options.values() for option in options]
        for slot in build_slots()
    ]
    assert (sum(map(min, lengths)), sum(map(max, lengths))) == (11, 20)
    counts = [len(sentence.text.split()) for sentence in SENTENCES]
    assert (min(counts), max(counts)) == (11, 20)


def test_sentences_are_plain_lower_case_text_of_the_vocabulary():
    words = {word for sentence in SENTENCES for word in sentence.text.split()}
    assert vocabulary() == sorted(words)
    assert 300 <= len(words) <= 1000
    for sentence in SENTENCES:
        assert sentence.text == sentence.text.lower() == " ".join(sentence.text.split())
        assert list(sentence.factors) == list(FACTORS)


@given(st.integers(0, 2_000), st.randoms(use_true_random=False))
def test_a_shuffled_sentence_is_outside_unless_unchanged(index, random):
    words = SENTENCES[index].text.split()
    shuffled = random.sample(words, len(words))
    # "the" may stand twice, so that a shuffle can give the same sentence.
    assert (log_prob(" ".join(shuffled)) > -math.inf) == (shuffled == words)


@given(st.integers(0, 50), st.integers(-(10**9), 10**9))
def test_a_shorter_sample_is_the_beginning_of_a_longer_one(n, seed):
    assert sample(n, seed) == sample(60, seed)[:n]


def test_seeds_differ():
    assert len({sample(3, seed)[0].text for seed in range(-50, 50)}) == 100


def test_default_splits():
    train, valid, test = splits(1)
    assert (len(train), len(valid), len(test)) == (20_000, 2_000, 2_000)
    assert splits(1, train=10).valid == valid
    assert splits(1, train=10).test == test
    assert splits(1, train=10).train == train[:10]
    assert not {s.text for s in train} & {s.text for s in valid}  # by chance, not by rule


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample(1.5), TypeError, r"^n must be an integer, got 1\.5$"),
        (lambda: sample(-1), ValueError, "^n must be at least 0, got -1$"),
        (lambda: sample(1, True), TypeError, "^seed must be an integer, got True$"),
        (lambda: splits(train=-1), ValueError, "^train must be at least 0, got -1$"),
        (lambda: splits(valid=-1), ValueError, "^valid must be at least 0, got -1$"),
        (lambda: splits(test=0.5), TypeError, r"^test must be an integer, got 0\.5$"),
        (lambda: log_prob(["the"]), TypeError, "^sentence must be a string, got list$"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
