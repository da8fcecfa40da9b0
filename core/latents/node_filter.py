"""The language in which nodes are filtered: ``effect>0.02 pos=end on`` lists the nodes that meet all three terms.

A term is one of

    COLUMN OP VALUE   OP is > >= < <= = or !=, without blanks; on a column of numbers, or = and != on one of words
    on, off           kept or ablated
    marked            marked by the user
    anything else     a part of the site's name, latent, position, labels, or of a token that the latent promotes

A term in double quotes is taken as it is: ``"on"`` finds the word. Upper and lower case are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from circuit_tui.core.errors import UserError

Operator = Literal[">", ">=", "<", "<=", "=", "!="]
State = Literal["on", "off", "marked"]
NUMBERS = ("latent", "clean", "corrupt", "diff", "max", "freq", "effect", "push", "share")
"""Columns that hold numbers."""
WORDS = ("site", "pos", "label", "promotes", "suppresses", "group")
"""Columns that hold words: = asks whether one of them is VALUE."""
SORT_COLUMNS = (*NUMBERS, "pos", "label", "promotes", "suppresses")
"""Columns that a list can be sorted by."""
STATES: tuple[State, ...] = ("on", "off", "marked")
_TERM = re.compile(r'"[^"]*"?|[^\s"]+')
_COMPARISON = re.compile(r"([a-z_]+)(>=|<=|!=|>|<|=)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class NumberTerm:
    """A comparison of a column of numbers with a number."""

    column: str
    operator: Operator
    value: float


@dataclass(frozen=True, slots=True)
class WordTerm:
    """Whether a column of words holds `value`, in lower case; or that it does not."""

    column: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class StateTerm:
    """Whether a node is kept, ablated or marked."""

    state: State


@dataclass(frozen=True, slots=True)
class TextTerm:
    """A text in lower case that is a part of something that names the node."""

    text: str


Term = NumberTerm | WordTerm | StateTerm | TextTerm


def parse_filter(text: str) -> tuple[Term, ...]:
    """Returns the terms of a filter; an empty one has none.

    Raises:
        UserError: an unknown column, a comparison that the column does not have, or no number where one is needed.
    """
    return tuple(_term(word) for word in _TERM.findall(text) if word != '"')


def parse_leniently(text: str) -> tuple[tuple[Term, ...], str]:
    """Returns the terms of a filter that is being typed, and the first thing in it that cannot be read, else ""."""
    terms, error = list[Term](), ""
    for word in _TERM.findall(text):
        try:
            terms += parse_filter(word)
        except UserError as wrong:
            error = error or str(wrong)
    return tuple(terms), error


def _term(word: str) -> Term:
    if word.startswith('"'):
        return TextTerm(word.strip('"').lower())
    comparison = _COMPARISON.fullmatch(word)
    if comparison is None:
        lower = word.lower()
        return next((StateTerm(state) for state in STATES if state == lower), TextTerm(lower))
    column, operator, value = comparison[1].lower(), comparison[2], comparison[3]
    if column in WORDS:
        if operator not in ("=", "!="):
            raise UserError(f"filter {word}: {column} holds words; use = or !=")
        return WordTerm(column, value.strip().lower(), operator == "=")
    if column not in NUMBERS:
        raise UserError(f"filter {word}: no column {column}; there are {', '.join((*NUMBERS, *WORDS))}")
    try:
        number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        raise UserError(f"filter {word}: {value!r} is no number") from None
    if number != number:
        raise UserError(f"filter {word}: {value!r} is no number")
    return NumberTerm(column, operator, number)  # type: ignore[arg-type]
