"""The rules of the embedded corpus: its factors, and what each slot of a sentence may say.

A sentence is a row of slots from left to right; `?` marks those that may stay empty:

    opener the ADJECTIVE SUBJECT will? frequency ADVERB? VERB determiner QUALITY? OBJECT CLOSING?
    PLACE? day hour

What a slot says depends only on the factors it names, so only the factors tie distant words
together. Day and hour depend on none: an encoder must carry what it knows past these last words.
Mood and polarity change words, not their number: a factor that shifted the rest of the sentence
could be told from positions alone. No two topics share a subject, verb, quality or object, and no
two tempers a word, so one such word already tells its topic or temper.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, product
from typing import NamedTuple


class Topic(NamedTuple):
    """The words of a topic, each field a string that is split; in `_TOPICS` in this order."""

    subjects: str  # `singular/plural` where the plural is irregular
    verbs: str  # `base/past` where the past is irregular
    qualities: str  # adjectives of the object
    objects: str  # plurals and mass nouns, which follow `the`, `some`, `any` and `their` alike
    places: str  # phrases of two or three words, separated by commas


class Temper(NamedTuple):
    """The words of a temper, likewise."""

    adjectives: str  # of the subject; their adverbs, of the verb
    closings: str  # how it is done: phrases of at most three words, separated by commas


_TOPICS = """
court: lawyer judge prosecutor magistrate; question accuse defend summon;
    guilty dishonest talkative; suspects witnesses smugglers forgers;
    in the courtroom, before the jury, at the tribunal
farm: farmer shepherd rancher ploughman/ploughmen; harvest gather weigh stack;
    golden ripe muddy; hay wheat pumpkins turnips;
    in the barn, behind the stable, near the field
garden: gardener florist botanist landscaper; plant water prune trim/trimmed;
    blooming thorny fragrant; roses tulips hedges shrubs;
    in the garden, in the greenhouse, along the fence
hospital: doctor nurse surgeon midwife/midwives; examine treat comfort bandage;
    feverish injured pale; patients infants veterans toddlers;
    in the clinic, at the hospital, on the ward
kitchen: cook baker chef waiter; bake taste serve slice;
    spicy buttery crusty; dumplings bread pies noodles;
    in the kitchen, at the restaurant, near the oven
music: pianist violinist singer drummer; play rehearse compose hum/hummed;
    solemn lively haunting; melodies waltzes ballads symphonies;
    on the stage, at the concert, in the choir
office: accountant secretary manager clerk; print sign file copy;
    lengthy urgent official; reports contracts invoices documents;
    in the office, at the desk, by the printer
police: detective officer inspector constable; chase arrest follow handcuff;
    masked armed cunning; burglars thieves robbers pickpockets;
    in the alley, under the bridge, across the roofs
school: teacher pupil tutor professor; explain study memorize recite;
    difficult tricky dull; poems lessons fractions proverbs;
    in the classroom, at school, at the academy
sea: sailor captain fisherman/fishermen diver; catch/caught net/netted haul spot/spotted;
    salty slippery silvery; herring mackerel lobsters crabs;
    in the harbor, on the boat, off the coast
space: astronaut astronomer engineer pilot; observe photograph track discover;
    distant glowing icy; comets galaxies asteroids planets;
    at the observatory, in orbit, through the telescope
sport: athlete goalkeeper striker champion; win/won lose/lost miss/missed enjoy;
    thrilling final friendly; matches races tournaments games;
    in the stadium, at the arena, on the pitch
"""
TOPICS: dict[str, Topic] = {
    name: Topic(*(" ".join(field.split()) for field in words.split(";")))
    for name, words in re.findall(r"^(\w+): ([^:]*)$", _TOPICS, flags=re.MULTILINE)
}

TEMPERS: dict[str, Temper] = {
    "bold": Temper("bold brave daring", "without fear, with pride"),
    "calm": Temper("calm peaceful patient", "in silence, without a word"),
    "careful": Temper("careful cautious diligent", "with great care, step by step"),
    "cheerful": Temper("cheerful happy merry", "with a smile, with a laugh"),
    "hasty": Temper("hasty hurried restless", "in a hurry, in no time"),
    "shy": Temper("shy timid bashful", "with a blush, in a whisper"),
    "stern": Temper("stern strict grim", "with a frown, with a scowl"),
    "weary": Temper("weary tired sleepy", "with a yawn, with a sigh"),
}

DAYS = "monday tuesday wednesday thursday friday saturday sunday"
HOURS = "morning afternoon evening night"
OPENERS = "apparently perhaps surely"
FREQUENCIES: dict[str, str] = {
    "affirmed": "always often usually",
    "denied": "never rarely seldom",
}

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

    def all(self) -> Iterator[Option]:
        """The options under all values."""
        return chain.from_iterable(self.options.values())


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _past(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def _adverb(adjective: str) -> str:
    if adjective.endswith("y") and adjective != "shy":
        return adjective[:-1] + "ily"
    return adjective + "ly"


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


def _adverbs(temper: str) -> dict[str, float]:
    return _even(list(map(_adverb, _split(TEMPERS[temper].adjectives))), skip=0.2)


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
    ("adverb", ("temper",), _adverbs),
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
        options = {}
        for values in product(*(FACTORS[factor] for factor in given)):
            phrases = rule(*values).items()
            options[values] = tuple(Option(tuple(one.split()), prob) for one, prob in phrases)
        slots.append(Slot(name, given, options))
    return tuple(slots)
