"""The words of the built-in tasks and of the demo language, grouped by the part that they play.

Every entry is one whitespace-separated word. Pairs are (singular, plural).
"""

from __future__ import annotations

NOUNS: tuple[tuple[str, str], ...] = tuple(
    (noun, noun + "s")
    for noun in (
        "doctor", "guard", "farmer", "teacher", "pilot", "artist", "lawyer", "singer", "driver", "student",
        "painter", "writer", "banker", "baker", "sailor", "soldier", "actor", "poet", "waiter", "dancer",
    )
)  # fmt: skip
"""People, with their plurals."""

VERBS: tuple[tuple[str, str], ...] = tuple(
    (stem + "s", stem)
    for stem in (
        "run", "sleep", "walk", "sing", "smile", "work", "wait", "dance",
        "laugh", "swim", "read", "write", "cook", "paint", "travel", "rest",
    )
)  # fmt: skip
"""Intransitive verbs: the form after a singular subject, then after a plural one."""

TRANSITIVE: tuple[tuple[str, str], ...] = tuple(
    (stem + "s", stem) for stem in ("like", "know", "help", "follow", "admire", "avoid", "trust", "remember")
)
"""Verbs that take an object: the form after a singular subject, then after a plural one."""

ADJECTIVES = ("old", "young", "tall", "happy", "quiet", "clever", "kind", "brave", "tired", "famous", "honest", "busy")
ADVERBS = ("often", "rarely", "usually", "always", "sometimes", "never", "also", "still")
OPENINGS = ("Today", "Yesterday", "Now", "Here", "Sometimes", "There", "Then", "Later")
PREPOSITIONS = ("near", "behind", "beside", "with", "above", "below")

WOMEN = ("Mary", "Anna", "Sarah", "Emma", "Lucy", "Kate", "Laura", "Alice", "Jane", "Helen", "Rose", "Julia")
MEN = ("John", "Paul", "Mark", "David", "Peter", "James", "Henry", "Simon", "Robert", "Thomas", "Martin", "George")
NAMES = tuple(name for pair in zip(WOMEN, MEN, strict=True) for name in pair)

MOTIONS = ("went", "came", "walked", "ran", "drove", "moved")
PLACES = ("home", "out", "back", "inside", "outside", "upstairs", "downtown", "away")
TRANSFERS = ("gave", "handed", "passed", "offered", "showed", "sold")
THINGS = ("drink", "book", "ring", "letter", "ball", "cake", "hat", "map", "flower", "key", "coin", "lamp")

ACTIONS = ("left", "cried", "slept", "smiled", "stayed", "waited", "worked", "laughed", "rested", "sang")
MANNERS = ("early", "alone", "quietly", "late", "again", "slowly", "quickly", "happily")
# Like every word of this module, part of the demo's vocabulary (`demo/corpus.py`); the demo's grammar needs them.
MANNER_OPENINGS = tuple(manner.capitalize() for manner in MANNERS)
CONJUNCTIONS = ("because", "while", "after", "before", "although", "when", "since", "until")

EVENTS = (
    "war", "siege", "strike", "trial", "reign", "drought", "voyage", "project",
    "festival", "campaign", "dispute", "study", "rule", "truce", "plague", "boom",
)  # fmt: skip
SPANS = ("lasted", "ran", "continued", "stretched")
CENTURIES = tuple(str(century) for century in range(11, 20))
YEARS = tuple(f"{year:02d}" for year in range(100))
"""The last two digits of a year; a year is written as two words, "17 32"."""

DIGITS = tuple(str(digit) for digit in range(10))
VARIABLES = ("x", "y", "z", "t", "d", "m")
KEYS = tuple(f'"{letter}"' for letter in "abcdefghij")
TRACEBACK = "Traceback"
PROMPT = ">>>"
