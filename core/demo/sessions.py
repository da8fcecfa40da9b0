"""Random Python sessions, each a list of words: a collection, then queries of it, each followed by its output."""

from __future__ import annotations

import random
from collections.abc import Callable

from circuit_tui.core.tasks.builtin import lexicon

Session = list[str]

SYMBOLS: tuple[str, ...] = (lexicon.PROMPT, lexicon.TRACEBACK, "print", "=", ",", ":", "[", "]", "(", ")", "{", "}")
"""The words of the sessions besides variables, digits and keys."""


def _queries(rng: random.Random, n_queries: int, variable: str, answers: dict[str, str], missing: list[str]) -> Session:
    """Returns queries, half for items that exist (with their value), half for missing ones; some in `print ( )`."""
    session: Session = []
    for _ in range(n_queries):
        if rng.random() < 0.5:
            item, printed = rng.choice(list(answers.items()))
        else:
            item, printed = rng.choice(missing), lexicon.TRACEBACK
        query = [variable, "[", item, "]"]
        if rng.random() < 0.25:
            query = ["print", "(", *query, ")"]
        session += [lexicon.PROMPT, *query, printed]
    return session


def sequence(rng: random.Random, n_queries: int) -> Session:
    """Returns a session with a list or a tuple of two to five digits (most often four), queried by index."""
    variable = rng.choice(lexicon.VARIABLES)
    length = rng.choice((2, 3, 4, 4, 4, 4, 5))
    values = rng.sample(lexicon.DIGITS, length)
    opening, closing = "[]" if rng.random() < 0.65 else "()"
    session = [lexicon.PROMPT, variable, "=", opening]
    for value in values:
        session += [value, ","]
    session[-1] = closing
    answers = dict(zip(lexicon.DIGITS, values, strict=False))
    return session + _queries(rng, n_queries, variable, answers, list(lexicon.DIGITS[length:8]))


def mapping(rng: random.Random, n_queries: int) -> Session:
    """Returns a session with a dict of one to three entries (most often two), queried by key."""
    variable = rng.choice(lexicon.VARIABLES)
    length = rng.choice((1, 2, 2, 2, 2, 3))
    keys = rng.sample(lexicon.KEYS, len(lexicon.KEYS))
    values = rng.sample(lexicon.DIGITS, length)
    session = [lexicon.PROMPT, variable, "=", "{"]
    for key, value in zip(keys, values, strict=False):
        session += [key, ":", value, ","]
    session[-1] = "}"
    answers = dict(zip(keys, values, strict=False))
    return session + _queries(rng, n_queries, variable, answers, keys[length:])


KINDS: dict[Callable[[random.Random, int], Session], float] = {sequence: 1.0, mapping: 2.0}
"""The kinds of session, and how often each occurs relative to the others."""
