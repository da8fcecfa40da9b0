"""Subject-verb agreement: plain, across a relative clause, across a prepositional phrase.

The three structures follow the agreement tasks of Marks et al. 2024 (Sparse Feature Circuits, arXiv:2403.19647), after
Finlayson et al. 2021 (arXiv:2106.06087). The corrupt prompt flips the number of the subject alone. Half of the subjects
are plural, the noun in between agrees with the subject half of the time, and every verb is asked for equally often in
both numbers, so that a model that ignores the prompt has a mean logit difference of 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from circuit_tui.core.tasks.builtin import lexicon
from circuit_tui.core.tasks.builtin.generate import build, words
from circuit_tui.core.tasks.task import Pair, Task

Prompt = Callable[[int], tuple[str, tuple[str, ...]]]
"""Maps the subject's number (0 singular, 1 plural) to the prompt and its roles."""


def _pair(index: int, prompt: Prompt) -> Pair:
    """Even indices ask for a singular verb, odd ones for the plural of the same verb."""
    number = index % 2
    verb = lexicon.VERBS[index // 2 % len(lexicon.VERBS)]
    clean, roles = prompt(number)
    corrupt, _ = prompt(1 - number)
    return Pair(clean, corrupt, f" {verb[number]}", f" {verb[1 - number]}", roles=roles)


def _simple(rng: random.Random, index: int) -> Pair:
    opening, adjective = rng.choice(lexicon.OPENINGS), rng.choice(lexicon.ADJECTIVES)
    noun, adverb = rng.choice(lexicon.NOUNS), rng.choice(lexicon.ADVERBS)
    return _pair(
        index,
        lambda number: words(
            (opening, "opening"), ("the", "det"), (adjective, "adj"), (noun[number], "subject"), (adverb, "adverb")
        ),
    )


def _simple_unseen(rng: random.Random, index: int) -> Pair:
    first, second = rng.sample(lexicon.ADJECTIVES, 2)
    noun, adverb = rng.choice(lexicon.NOUNS), rng.choice(("never", "always"))
    return _pair(
        index,
        lambda number: words(
            ("The", "det"), (first, "adj"), (second, "adj"), (noun[number], "subject"),
            ("almost", "adverb"), (adverb, "adverb"),
        ),
    )  # fmt: skip


def _relative(rng: random.Random, index: int, *, pronoun: bool) -> Pair:
    noun, other = rng.sample(lexicon.NOUNS, 2)
    adjective, verb, number_inside = rng.choice(lexicon.ADJECTIVES), rng.choice(lexicon.TRANSITIVE), rng.randrange(2)
    inside = (
        ("the", "rc_det"), (adjective, "rc_adj"), (other[number_inside], "rc_noun"), (verb[number_inside], "rc_verb"),
    )  # fmt: skip
    that = (("that", "that"),) if pronoun else ()
    return _pair(index, lambda number: words(("The", "det"), (noun[number], "subject"), *that, *inside))


def _rc(rng: random.Random, index: int) -> Pair:
    return _relative(rng, index, pronoun=True)


def _rc_unseen(rng: random.Random, index: int) -> Pair:
    return _relative(rng, index, pronoun=False)


def _pp(rng: random.Random, index: int) -> Pair:
    noun, other = rng.sample(lexicon.NOUNS, 2)
    preposition, adjective = rng.choice(lexicon.PREPOSITIONS), rng.choice(lexicon.ADJECTIVES)
    number_inside = rng.randrange(2)
    return _pair(
        index,
        lambda number: words(
            ("The", "det"), (noun[number], "subject"), (preposition, "prep"), ("the", "pp_det"),
            (adjective, "pp_adj"), (other[number_inside], "pp_noun"),
        ),
    )  # fmt: skip


def _pp_unseen(rng: random.Random, index: int) -> Pair:
    noun, first, second = rng.sample(lexicon.NOUNS, 3)
    near, behind = rng.sample(lexicon.PREPOSITIONS, 2)
    first_number, second_number = rng.randrange(2), rng.randrange(2)
    return _pair(
        index,
        lambda number: words(
            ("The", "det"), (noun[number], "subject"),
            (near, "prep"), ("the", "pp_det"), (first[first_number], "pp_noun"),
            (behind, "prep"), ("the", "pp_det"), (second[second_number], "pp_noun"),
        ),
    )  # fmt: skip


def simple() -> Task:
    """`Today the old doctor often` → ` runs`; unseen: `The old kind doctor almost never`."""
    return build("sva-simple", "The verb agrees with the subject", _simple, _simple_unseen)


def rc() -> Task:
    """`The doctor that the old guards like` → ` runs`; unseen: the same without `that`."""
    return build("sva-rc", "The verb agrees with the subject, across a relative clause", _rc, _rc_unseen)


def pp() -> Task:
    """`The doctor near the old guards` → ` runs`; unseen: two prepositional phrases."""
    return build("sva-pp", "The verb agrees with the subject, across a prepositional phrase", _pp, _pp_unseen)
