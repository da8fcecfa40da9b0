"""Python output: the value at an index or a key, or `Traceback` when it does not exist.

After the code-output task of Caples et al. 2025 ("Scaling Sparse Feature Circuit Finding to Gemma 9B"): one interpreter
session, its words separated by blanks. Half of the prompts ask for a value that exists and half for one that does not;
the corrupt prompt changes the index or the key alone, from one that exists to one that does not, or back.
"""

from __future__ import annotations

import random

from circuit_tui.core.tasks.builtin import lexicon
from circuit_tui.core.tasks.builtin.generate import build, words
from circuit_tui.core.tasks.task import Pair, Task

LIST_LENGTH = 4
N_INDICES = 2 * LIST_LENGTH
DICT_LENGTH = 2

Parts = list[tuple[str, str]]


def _pair(index: int, session: Parts, inside: str, outside: str, value: str, query: tuple[Parts, Parts]) -> Pair:
    """Even indices ask for `inside`, which exists, odd ones for `outside`. `query`: the words before and after it."""
    before, after = query
    present, roles = words(*session, *before, (inside, "asked"), *after)
    missing, _ = words(*session, *before, (outside, "asked"), *after)
    if index % 2 == 0:
        return Pair(present, missing, f" {value}", f" {lexicon.TRACEBACK}", roles=roles)
    return Pair(missing, present, f" {lexicon.TRACEBACK}", f" {value}", roles=roles)


def _list(rng: random.Random, index: int, *, unseen: bool) -> Pair:
    variable = rng.choice(lexicon.VARIABLES)
    values = rng.sample(lexicon.DIGITS, LIST_LENGTH)
    asked, outside = rng.randrange(LIST_LENGTH), rng.randrange(LIST_LENGTH, N_INDICES)
    opening, closing = "()" if unseen else "[]"
    session: Parts = [(lexicon.PROMPT, "prompt1"), (variable, "name1"), ("=", "equals"), (opening, "open")]
    for place, value in enumerate(values):
        session.append((value, f"value{place}"))
        session.append((",", f"comma{place}") if place < LIST_LENGTH - 1 else (closing, "close"))
    query: tuple[Parts, Parts] = (
        [(lexicon.PROMPT, "prompt2"), (variable, "name2"), ("[", "bracket")],
        [("]", "end")],
    )
    return _pair(index, session, lexicon.DIGITS[asked], lexicon.DIGITS[outside], values[asked], query)


def _dict(rng: random.Random, index: int, *, unseen: bool) -> Pair:
    variable = rng.choice(lexicon.VARIABLES)
    *keys, outside = rng.sample(lexicon.KEYS, DICT_LENGTH + 1)
    values = rng.sample(lexicon.DIGITS, DICT_LENGTH)
    asked = rng.randrange(DICT_LENGTH)
    session: Parts = [(lexicon.PROMPT, "prompt1"), (variable, "name1"), ("=", "equals"), ("{", "open")]
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        session += [(key, f"key{place}"), (":", f"colon{place}"), (value, f"value{place}")]
        session.append((",", f"comma{place}") if place < DICT_LENGTH - 1 else ("}", "close"))
    before: Parts = [(lexicon.PROMPT, "prompt2"), (variable, "name2"), ("[", "bracket")]
    after: Parts = [("]", "end")]
    if unseen:
        before[1:1] = [("print", "name2"), ("(", "bracket")]
        after = [("]", "bracket"), (")", "end")]
    return _pair(index, session, keys[asked], outside, values[asked], (before, after))


def code_list() -> Task:
    """`>>> x = [ 4 , 7 , 2 , 9 ] >>> x [ 1 ]` → ` 7`, and index 5 → ` Traceback`; unseen: a tuple."""
    return build(
        "code-list",
        "Python: the element at an index, or Traceback when the index is out of range",
        lambda rng, index: _list(rng, index, unseen=False),
        lambda rng, index: _list(rng, index, unseen=True),
    )


def code_dict() -> Task:
    """`>>> d = { "a" : 4 , "b" : 7 } >>> d [ "b" ]` → ` 7`, and `"c"` → ` Traceback`; unseen: inside `print ( )`."""
    return build(
        "code-dict",
        "Python: the value of a key, or Traceback when there is no such key",
        lambda rng, index: _dict(rng, index, unseen=False),
        lambda rng, index: _dict(rng, index, unseen=True),
    )
