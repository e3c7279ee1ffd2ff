"""The embedded corpus: sentences from a small probabilistic grammar, with factors, known exactly.

    >>> sentence = sample(1, seed=0)[0]
    >>> sentence.factors["mood"] in FACTORS["mood"]
    True
    >>> log_prob(sentence.text) > float("-inf")
    True

Every sentence is decided by six independent factors (`FACTORS`), each uniform over its values, and
by free choices within each slot of the sentence. A factor shows in words far apart: the topic in
subject, verb, quality, object and place; the temper in adjective, adverb and closing; tense and
number in opener or verb, and the number in subject and determiner too; the mood in opener and verb;
the polarity in frequency and determiner. A decoder must carry them from the first of these words to
the last, or be told them by z. Because `entropy` is exact, so is the best NLL any model can reach.

The same seed gives the same sentences on every machine and Python version: the only source of
chance is `random.Random(seed).random()`, which Python guarantees not to change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple

from textvae.grammar.rules import FACTORS, Option, Slot, build_slots

__all__ = [
    "FACTORS",
    "Derivation",
    "GrammarSentence",
    "GrammarSplits",
    "entropy",
    "log_prob",
    "parse",
    "sample",
    "splits",
    "vocabulary",
]


class GrammarSentence(NamedTuple):
    """A sentence and what decided it.

    Attributes:
        text: Lower-case words separated by single spaces, 11 to 20 of them, without punctuation.
        factors: The value of every factor in `FACTORS`.
    """

    text: str
    factors: dict[str, str]


class GrammarSplits(NamedTuple):
    """Independent draws for training, validation and test."""

    train: list[GrammarSentence]
    valid: list[GrammarSentence]
    test: list[GrammarSentence]


class Derivation(NamedTuple):
    """One way in which the grammar can say a sentence.

    Attributes:
        factors: The value of every factor in `FACTORS`.
        log_prob: Natural logarithm of the joint probability of these factors and the sentence.
    """

    factors: dict[str, str]
    log_prob: float


def sample(n: int, seed: int = 0) -> list[GrammarSentence]:
    """Draws sentences; the first k of them do not depend on n.

    Args:
        n: How many, at least 0.
        seed: Any integer; the same seed gives the same sentences.

    Returns:
        n independent sentences with their factors.

    Raises:
        TypeError: If n or seed is not an integer.
        ValueError: If n is negative.
    """
    _check_count("n", n)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    # Random(-1) and Random(1) are the same generator: keep every integer its own.
    random = Random(2 * seed if seed >= 0 else -2 * seed - 1)
    return [_draw_sentence(random) for _ in range(n)]


def splits(
    seed: int = 0, *, train: int = 20_000, valid: int = 2_000, test: int = 2_000
) -> GrammarSplits:
    """Draws a training, a validation and a test set.

    All are independent draws from the same grammar, so that its entropy is the best NLL on each of
    them. Nothing is removed: a sentence may occur twice, in one split or in two, as often as chance
    has it, which is hardly ever (24,000 sentences hold no pair, as a rule). Validation and test
    sets do not depend on the size of the training set.

    Args:
        seed: Any integer.
        train: Number of training sentences, at least 0.
        valid: Number of validation sentences, at least 0.
        test: Number of test sentences, at least 0.

    Returns:
        The three lists.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If a size is negative.
    """
    for name, size in (("train", train), ("valid", valid), ("test", test)):
        _check_count(name, size)
    drawn = sample(valid + test + train, seed)
    return GrammarSplits(drawn[valid + test :], drawn[:valid], drawn[valid : valid + test])


def parse(sentence: str) -> list[Derivation]:
    """Finds every way in which the grammar can say a sentence.

    This grammar is unambiguous, so there is one derivation or none, but nothing here relies on
    that.

    Args:
        sentence: Words separated by white space.

    Returns:
        The derivations, none where the sentence is not of the grammar.

    Raises:
        TypeError: If the sentence is not a string.
    """
    if not isinstance(sentence, str):
        raise TypeError(f"sentence must be a string, got {type(sentence).__name__}")
    return list(_derive(tuple(sentence.split()), build_slots(), {}, 0.0))


def log_prob(sentence: str) -> float:
    """Gives the exact log-probability of a sentence, summed over all its derivations.

    Args:
        sentence: Words separated by white space.

    Returns:
        Natural logarithm of its probability; `-inf` outside the grammar.

    Raises:
        TypeError: If the sentence is not a string.
    """
    terms = [derivation.log_prob for derivation in parse(sentence)]
    if not terms:
        return -math.inf
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


@cache
def entropy() -> float:
    """Gives the exact entropy of a sentence, the mean NLL that no model can better.

    As a sentence tells its factors and what was chosen in each slot (the grammar is unambiguous),
    its entropy is that of all choices together: of the factors, and of every slot averaged over the
    factors it depends on.

    Returns:
        Nats per sentence.
    """
    factors = math.fsum(math.log(len(values)) for values in FACTORS.values())
    return factors + math.fsum(_slot_entropy(slot) for slot in build_slots())


def vocabulary() -> list[str]:
    """Lists every word the grammar can say.

    Returns:
        The word types in alphabetical order.
    """
    return sorted(
        {
            word
            for slot in build_slots()
            for options in slot.options.values()
            for option in options
            for word in option.words
        }
    )


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")


def _draw_sentence(random: Random) -> GrammarSentence:
    factors = {name: values[int(random.random() * len(values))] for name, values in FACTORS.items()}
    words: list[str] = []
    for slot in build_slots():
        options = slot.options[tuple(factors[name] for name in slot.given)]
        words.extend(_draw_option(options, random).words)
    return GrammarSentence(" ".join(words), factors)


def _draw_option(options: tuple[Option, ...], random: Random) -> Option:
    # Certain options spend a draw too: every sentence takes equally many.
    left = random.random()
    for option in options:
        left -= option.prob
        if left < 0.0:
            return option
    return options[-1]


def _derive(
    words: tuple[str, ...], slots: tuple[Slot, ...], known: Mapping[str, str], log_joint: float
) -> Iterator[Derivation]:
    """Reads words from left to right, deciding a factor at the first slot that depends on it."""
    if not slots:
        if not words:
            yield Derivation({name: known[name] for name in FACTORS}, log_joint)
        return
    slot, rest = slots[0], slots[1:]
    domains = [(known[name],) if name in known else FACTORS[name] for name in slot.given]
    # Uniform factors: deciding those not known yet costs log of the number of ways to decide them.
    log_prior = -math.fsum(math.log(len(domain)) for domain in domains)
    for values in product(*domains):
        decided = {**known, **dict(zip(slot.given, values, strict=True))}
        for option in slot.options[values]:
            length = len(option.words)
            if words[:length] == option.words:
                log_next = log_joint + log_prior + math.log(option.prob)
                yield from _derive(words[length:], rest, decided, log_next)


def _slot_entropy(slot: Slot) -> float:
    """Averages the entropy of a slot over its factors, in nats."""
    terms = [
        -option.prob * math.log(option.prob)
        for options in slot.options.values()
        for option in options
    ]
    return math.fsum(terms) / len(slot.options)
