"""The rules of the embedded corpus: its factors, and what each slot of a sentence may say.

A sentence is a row of slots from left to right; `?` marks those that may stay empty:

    opener the ADJECTIVE SUBJECT will? frequency ADVERB? VERB determiner QUALITY? OBJECT CLOSING?
    PLACE? day hour

What a slot says depends only on the factors it names, so only the factors tie distant words
together. Day and hour depend on none: an encoder must carry what it knows past these last words.
Mood and polarity change words, not their number: a factor that shifted the rest of the sentence
could be told from positions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

from textvae.grammar.lexicon import DAYS, FREQUENCIES, HOURS, OPENERS, TEMPERS, TOPICS

FACTORS: dict[str, tuple[str, ...]] = {
    "topic": tuple(TOPICS),
    "temper": tuple(TEMPERS),
    "tense": ("past", "present", "future"),
    "number": ("singular", "plural"),
    "mood": ("statement", "question"),
    "polarity": ("affirmed", "denied"),
}


class Option(NamedTuple):
    """What may stand in a slot."""

    words: tuple[str, ...]  # possibly none
    prob: float  # in (0, 1], given the factors of its slot


class Slot(NamedTuple):
    """One place of the sentence."""

    name: str
    given: tuple[str, ...]  # names of the factors that decide what it says
    options: dict[tuple[str, ...], tuple[Option, ...]]  # by the values of these factors


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _past(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _even(phrases: list[str], skip: float = 0.0) -> dict[str, float]:
    """All phrases with the same probability, after `skip` for an empty slot."""
    options = {phrase: (1.0 - skip) / len(phrases) for phrase in phrases}
    return {"": skip, **options} if skip else options


def _split(phrases: str) -> list[str]:
    return phrases.split(", ") if ", " in phrases else phrases.split()


def _auxiliary(tense: str, number: str) -> str:
    present = "does" if number == "singular" else "do"
    return {"past": "did", "present": present, "future": "will"}[tense]


def _opener(mood: str, tense: str, number: str) -> dict[str, float]:
    return {_auxiliary(tense, number): 1.0} if mood == "question" else _even(OPENERS.split())


def _future(mood: str, tense: str) -> dict[str, float]:
    return {"will" if mood == "statement" and tense == "future" else "": 1.0}


def _subject(topic: str, number: str) -> dict[str, float]:
    forms = [entry.partition("/")[::2] for entry in TOPICS[topic].subjects.split()]
    if number == "singular":
        return _even([noun for noun, _ in forms])
    return _even([irregular or _plural(noun) for noun, irregular in forms])


def _verb(topic: str, mood: str, tense: str, number: str) -> dict[str, float]:
    forms = [entry.partition("/")[::2] for entry in TOPICS[topic].verbs.split()]
    if mood == "statement" and tense == "past":
        return _even([irregular or _past(verb) for verb, irregular in forms])
    if mood == "statement" and tense == "present" and number == "singular":
        return _even([_plural(verb) for verb, _ in forms])  # the third person takes the noun's -s
    return _even([verb for verb, _ in forms])


def _determiner(number: str, polarity: str) -> dict[str, float]:
    owner = {"his": 0.15, "her": 0.15} if number == "singular" else {"their": 0.3}
    return {"the": 0.4, "any" if polarity == "denied" else "some": 0.3, **owner}


_RULES: tuple[tuple[str, tuple[str, ...], Callable[..., dict[str, float]]], ...] = (
    ("opener", ("mood", "tense", "number"), _opener),
    ("article", (), lambda: {"the": 1.0}),
    ("adjective", ("temper",), lambda temper: _even(_split(TEMPERS[temper].adjectives))),
    ("subject", ("topic", "number"), _subject),
    ("future", ("mood", "tense"), _future),
    ("frequency", ("polarity",), lambda polarity: _even(FREQUENCIES[polarity].split())),
    ("adverb", ("temper",), lambda temper: _even(_split(TEMPERS[temper].adverbs), skip=0.2)),
    ("verb", ("topic", "mood", "tense", "number"), _verb),
    ("determiner", ("number", "polarity"), _determiner),
    ("quality", ("topic",), lambda topic: _even(_split(TOPICS[topic].qualities), skip=0.2)),
    ("object", ("topic",), lambda topic: _even(_split(TOPICS[topic].objects))),
    ("closing", ("temper",), lambda temper: _even(_split(TEMPERS[temper].closings), skip=0.2)),
    ("place", ("topic",), lambda topic: _even(_split(TOPICS[topic].places), skip=0.2)),
    ("day", (), lambda: _even([f"on {day}" for day in DAYS.split()])),
    ("hour", (), lambda: _even(HOURS.split())),
)


@cache
def build_slots() -> tuple[Slot, ...]:
    """The slots of a sentence from left to right, with their options as tables."""
    slots = []
    for name, given, rule in _RULES:
        options = {
            values: tuple(
                Option(tuple(phrase.split()), prob) for phrase, prob in rule(*values).items()
            )
            for values in product(*(FACTORS[factor] for factor in given))
        }
        slots.append(Slot(name, given, options))
    return tuple(slots)
