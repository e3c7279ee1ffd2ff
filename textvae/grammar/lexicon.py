"""The words of the embedded corpus: 12 topics, 8 tempers, and the words that go with any topic.

Tables only; the rules that join these words into sentences are in `textvae.grammar.rules`. No two
topics share a subject, verb, quality or object, and no two tempers share a word, so one such word
already tells its topic or temper.
"""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """The words of a topic, each field a string that `textvae.grammar.rules` splits."""

    subjects: str  # `singular/plural` where the plural is irregular
    verbs: str  # `base/past` where the past is irregular
    qualities: str  # adjectives of the object
    objects: str  # plurals and mass nouns, which follow `the`, `some`, `any` and `their` alike
    places: str  # phrases of two or three words, separated by commas


class Temper(NamedTuple):
    """The words of a temper, each field a string that `textvae.grammar.rules` splits."""

    adjectives: str  # of the subject
    adverbs: str  # of the verb
    closings: str  # how it is done: phrases of at most three words, separated by commas


TOPICS: dict[str, Topic] = {
    "court": Topic(
        "lawyer judge prosecutor magistrate",
        "question accuse defend summon",
        "guilty dishonest talkative",
        "suspects witnesses smugglers forgers",
        "in the courtroom, before the jury, at the tribunal",
    ),
    "farm": Topic(
        "farmer shepherd rancher ploughman/ploughmen",
        "harvest gather weigh stack",
        "golden ripe muddy",
        "hay wheat pumpkins turnips",
        "in the barn, behind the stable, near the field",
    ),
    "garden": Topic(
        "gardener florist botanist landscaper",
        "plant water prune trim/trimmed",
        "blooming thorny fragrant",
        "roses tulips hedges shrubs",
        "in the garden, in the greenhouse, along the fence",
    ),
    "hospital": Topic(
        "doctor nurse surgeon midwife/midwives",
        "examine treat comfort bandage",
        "feverish injured pale",
        "patients infants veterans toddlers",
        "in the clinic, at the hospital, on the ward",
    ),
    "kitchen": Topic(
        "cook baker chef waiter",
        "bake taste serve slice",
        "spicy buttery crusty",
        "dumplings bread pies noodles",
        "in the kitchen, at the restaurant, near the oven",
    ),
    "music": Topic(
        "pianist violinist singer drummer",
        "play rehearse compose hum/hummed",
        "solemn lively haunting",
        "melodies waltzes ballads symphonies",
        "on the stage, at the concert, in the choir",
    ),
    "office": Topic(
        "accountant secretary manager clerk",
        "print sign file copy",
        "lengthy urgent official",
        "reports contracts invoices documents",
        "in the office, at the desk, by the printer",
    ),
    "police": Topic(
        "detective officer inspector constable",
        "chase arrest follow handcuff",
        "masked armed cunning",
        "burglars thieves robbers pickpockets",
        "in the alley, under the bridge, across the roofs",
    ),
    "school": Topic(
        "teacher pupil tutor professor",
        "explain study memorize recite",
        "difficult tricky dull",
        "poems lessons fractions proverbs",
        "in the classroom, at school, at the academy",
    ),
    "sea": Topic(
        "sailor captain fisherman/fishermen diver",
        "catch/caught net/netted haul spot/spotted",
        "salty slippery silvery",
        "herring mackerel lobsters crabs",
        "in the harbor, on the boat, off the coast",
    ),
    "space": Topic(
        "astronaut astronomer engineer pilot",
        "observe photograph track discover",
        "distant glowing icy",
        "comets galaxies asteroids planets",
        "at the observatory, in orbit, through the telescope",
    ),
    "sport": Topic(
        "athlete goalkeeper striker champion",
        "win/won lose/lost miss/missed enjoy",
        "thrilling final friendly",
        "matches races tournaments games",
        "in the stadium, at the arena, on the pitch",
    ),
}

TEMPERS: dict[str, Temper] = {
    "bold": Temper("bold brave daring", "boldly bravely daringly", "without fear, with pride"),
    "calm": Temper(
        "calm peaceful patient", "calmly peacefully patiently", "in silence, without a word"
    ),
    "careful": Temper(
        "careful cautious diligent",
        "carefully cautiously diligently",
        "with great care, step by step",
    ),
    "cheerful": Temper(
        "cheerful happy merry", "cheerfully happily merrily", "with a smile, with a laugh"
    ),
    "hasty": Temper(
        "hasty hurried restless", "hastily hurriedly restlessly", "in a hurry, in no time"
    ),
    "shy": Temper("shy timid bashful", "shyly timidly bashfully", "with a blush, in a whisper"),
    "stern": Temper("stern strict grim", "sternly strictly grimly", "with a frown, with a scowl"),
    "weary": Temper("weary tired sleepy", "wearily tiredly sleepily", "with a yawn, with a sigh"),
}

DAYS = "monday tuesday wednesday thursday friday saturday sunday"
HOURS = "morning afternoon evening night"
OPENERS = "apparently perhaps surely"
FREQUENCIES: dict[str, str] = {
    "affirmed": "always often usually",
    "denied": "never rarely seldom",
}
