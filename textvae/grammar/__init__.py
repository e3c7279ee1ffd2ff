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
the last, or get them from z. Because `entropy` is exact, so is the best NLL any model can reach.

The same seed gives the same sentences on every machine and Python version: the only source of
chance is `random.Random(seed).random()`, which Python guarantees not to change.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple

from textvae.checks import integer
from textvae.grammar.rules import FACTORS, Option, Slot, build_slots


class GrammarSentence(NamedTuple):
    """A sentence and what decided it."""

    text: str  # 11 to 20 lower-case words separated by single spaces, no punctuation
    factors: dict[str, str]  # the value of every factor in `FACTORS`


class GrammarSplits(NamedTuple):
    """Independent draws for training, validation and test."""

    train: list[GrammarSentence]
    valid: list[GrammarSentence]
    test: list[GrammarSentence]


class Derivation(NamedTuple):
    """One way in which the grammar generates a sentence."""

    factors: dict[str, str]  # the value of every factor in `FACTORS`
    log_prob: float  # natural logarithm of the joint probability of factors and sentence


def sample(n: int, seed: int = 0) -> list[GrammarSentence]:
    """Draw `n` independent sentences with their factors; the first k of them don't depend on `n`.

    The same seed, any integer, gives the same sentences.
    """
    integer("n", n, 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    # Random(-1) and Random(1) are the same generator: keep every integer its own.
    random = Random(2 * seed if seed >= 0 else -2 * seed - 1)
    return [_draw_sentence(random) for _ in range(n)]


def splits(
    seed: int = 0, *, train: int = 20_000, valid: int = 2_000, test: int = 2_000
) -> GrammarSplits:
    """Draw a training, a validation and a test set.

    All are independent draws, nothing is removed: the entropy is the best NLL on each of them.
    Validation and test sets do not depend on the size of the training set.
    """
    for name, size in (("train", train), ("valid", valid), ("test", test)):
        integer(name, size, 0)
    drawn = sample(valid + test + train, seed)
    return GrammarSplits(drawn[valid + test :], drawn[:valid], drawn[valid : valid + test])


def parse(sentence: str) -> list[Derivation]:
    """Find every derivation of a sentence: one or none, as this grammar is unambiguous."""
    if not isinstance(sentence, str):
        raise TypeError(f"sentence must be a string, got {type(sentence).__name__}")
    return list(_derive(tuple(sentence.split()), build_slots(), {}, 0.0))


def log_prob(sentence: str) -> float:
    """Return the exact log-probability of a sentence, nats, `-inf` outside the grammar."""
    # The grammar is unambiguous: there is one derivation or none.
    return max((derivation.log_prob for derivation in parse(sentence)), default=-math.inf)


@cache
def entropy() -> float:
    """Return the exact entropy of a sentence in nats, the lowest mean NLL that a model can reach.

    As a sentence tells its factors and what was chosen in each slot (the grammar is unambiguous),
    its entropy is that of all choices together: of the factors, and of every slot averaged over the
    factors it depends on.
    """
    factors = math.fsum(math.log(len(values)) for values in FACTORS.values())
    return factors + math.fsum(_slot_entropy(slot) for slot in build_slots())


def vocabulary() -> list[str]:
    """List every word of the grammar, in alphabetical order."""
    return sorted(
        {word for slot in build_slots() for option in slot.all() for word in option.words}
    )


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
    """Read words from left to right, deciding a factor at the first slot that depends on it."""
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
    """The entropy of a slot averaged over its factors, in nats."""
    terms = (-option.prob * math.log(option.prob) for option in slot.all())
    return math.fsum(terms) / len(slot.options)
