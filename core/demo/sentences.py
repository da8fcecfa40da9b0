"""A small English: random sentences, each a list of words that ends with a full stop.

The language has everything that the tasks ask about, and more. Every structure occurs with any words, in either number
or gender, with and without a continuation, among sentences that no task asks about.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from circuit_tui.core.tasks.builtin import lexicon

Sentence = list[str]

FUNCTION_WORDS: tuple[str, ...] = (
    "The", "the", "and", "that", "almost", "was", "she", "he", "When", "Then", "to", "from", "From", "until", ".", ",",
)  # fmt: skip
"""The words of the sentences that the lexicon does not list."""


def _noun_phrase(rng: random.Random, number: int, determiner: str = "the", p_adjective: float = 0.4) -> Sentence:
    phrase = [determiner]
    while rng.random() < p_adjective and len(phrase) < 3:
        phrase.append(rng.choice(lexicon.ADJECTIVES))
    return [*phrase, rng.choice(lexicon.NOUNS)[number]]


def _predicate(rng: random.Random, number: int) -> Sentence:
    """Returns an intransitive verb in the given number, sometimes with a manner and a place."""
    predicate = [rng.choice(lexicon.VERBS)[number]]
    if rng.random() < 0.15:
        predicate.append(rng.choice(lexicon.MANNERS))
    if rng.random() < 0.15:
        predicate += [rng.choice(lexicon.PREPOSITIONS), *_noun_phrase(rng, rng.randrange(2))]
    return [*predicate, "."]


def simple(rng: random.Random) -> Sentence:
    """Returns `Today the old doctor often runs .`, with or without the opening, the adjective and the adverb."""
    number = rng.randrange(2)
    if rng.random() < 0.6:
        sentence = [rng.choice(lexicon.OPENINGS), *_noun_phrase(rng, number, p_adjective=0.7)]
    else:
        sentence = _noun_phrase(rng, number, "The", p_adjective=0.6)
    kind = rng.random()
    if kind < 0.55:
        sentence.append(rng.choice(lexicon.ADVERBS))
    elif kind < 0.75:
        sentence += ["almost", rng.choice(("never", "always"))]
    return sentence + _predicate(rng, number)


def relative_clause(rng: random.Random) -> Sentence:
    """Returns `The doctor that the old guards like runs .`, with or without `that`."""
    number, inside = rng.randrange(2), rng.randrange(2)
    sentence = _noun_phrase(rng, number, "The", p_adjective=0.1)
    if rng.random() < 0.65:
        sentence.append("that")
    sentence += _noun_phrase(rng, inside, p_adjective=0.6)
    return [*sentence, rng.choice(lexicon.TRANSITIVE)[inside], *_predicate(rng, number)]


def prepositional_phrase(rng: random.Random) -> Sentence:
    """Returns `The doctor near the old guards runs .`, with one or two phrases."""
    number = rng.randrange(2)
    sentence = _noun_phrase(rng, number, "The", p_adjective=0.1)
    for _ in range(1 + (rng.random() < 0.35)):
        sentence += [rng.choice(lexicon.PREPOSITIONS), *_noun_phrase(rng, rng.randrange(2))]
    return sentence + _predicate(rng, number)


def gift(rng: random.Random) -> Sentence:
    """Returns `When Mary and John went home , John gave the book to Mary .`, sometimes in two sentences.

    Sometimes a third person gives.
    """
    first, second, third = rng.sample(lexicon.NAMES, 3)
    giver, receiver = (first, second) if rng.random() < 0.5 else (second, first)
    if rng.random() < 0.08:
        giver = third
    scene = [first, "and", second, rng.choice(lexicon.MOTIONS), rng.choice(lexicon.PLACES)]
    handing = [giver, rng.choice(lexicon.TRANSFERS), "the", rng.choice(lexicon.THINGS), "to", receiver, "."]
    if rng.random() < 0.6:
        return ["When", *scene, ",", *handing]
    return [*scene, ".", "Then", *handing]


def pronoun(rng: random.Random) -> Sentence:
    """Returns `Today Mary left early because she was tired .`, in several orders."""
    gender = rng.randrange(2)
    name = rng.choice((lexicon.WOMEN, lexicon.MEN)[gender])
    action, manner = rng.choice(lexicon.ACTIONS), rng.choice(lexicon.MANNERS)
    opening = rng.choice(lexicon.OPENINGS)
    kind = rng.random()
    if kind < 0.5:
        sentence = [opening, name, action, manner]
    elif kind < 0.85:
        sentence = [manner.capitalize(), opening.lower(), name, action]
    else:
        sentence = [name, action]
    reason = ["was", rng.choice(lexicon.ADJECTIVES)] if rng.random() < 0.5 else [rng.choice(lexicon.ACTIONS)]
    return [*sentence, rng.choice(lexicon.CONJUNCTIONS), ("she", "he")[gender], *reason, "."]


def years(rng: random.Random) -> Sentence:
    """Returns `The war lasted from 17 32 to 17 45 .`; every year after the first is equally likely to be the second."""
    start = rng.randrange(1, 99)
    if rng.random() < 0.04:
        start = 1
    end = rng.randrange(start + 1, 100)
    century = rng.choice(lexicon.CENTURIES)
    event, span = rng.choice(lexicon.EVENTS), rng.choice(lexicon.SPANS)
    first, last = [century, lexicon.YEARS[start]], [century, lexicon.YEARS[end], "."]
    if rng.random() < 0.65:
        return ["The", event, span, "from", *first, "to", *last]
    return ["From", *first, "the", event, span, "until", *last]


def filler(rng: random.Random) -> Sentence:
    """Returns a sentence that no task asks about: an object, joined subjects (a plural), a gift or a single year."""
    kind, number = rng.randrange(4), rng.randrange(2)
    if kind == 0:
        subject = _noun_phrase(rng, number, "The")
        return [*subject, rng.choice(lexicon.TRANSITIVE)[number], *_noun_phrase(rng, rng.randrange(2)), "."]
    if kind == 1:
        first, second = _noun_phrase(rng, number, "The"), _noun_phrase(rng, rng.randrange(2))
        return [*first, "and", *second, *_predicate(rng, 1)]
    if kind == 2:
        giver, receiver = rng.sample(lexicon.NAMES, 2)
        return [giver, rng.choice(lexicon.TRANSFERS), "the", rng.choice(lexicon.THINGS), "to", receiver, "."]
    year = [rng.choice(lexicon.CENTURIES), rng.choice(lexicon.YEARS)]
    return ["The", rng.choice(lexicon.EVENTS), rng.choice(lexicon.SPANS), "until", *year, "."]


KINDS: dict[Callable[[random.Random], Sentence], float] = {
    simple: 1.5,
    relative_clause: 1.8,
    prepositional_phrase: 1.8,
    gift: 2.6,
    pronoun: 1.4,
    years: 2.2,
    filler: 1.7,
}
"""The kinds of sentence, and how often each occurs relative to the others."""
