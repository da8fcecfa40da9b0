"""Gendered pronouns: `he` after a man's name, `she` after a woman's.

A task of Mathwin et al. 2023 ("Identifying a preliminary circuit for predicting gendered pronouns in GPT-2 small"),
here with the name in any of several sentences. The corrupt prompt names a person of the other gender.
"""

from __future__ import annotations

import random

from circuit_tui.core.tasks.builtin import lexicon
from circuit_tui.core.tasks.builtin.generate import build, words
from circuit_tui.core.tasks.task import Pair, Task

_PRONOUNS = (" she", " he")


def _draw(rng: random.Random, index: int, *, unseen: bool) -> Pair:
    """Even indices name a woman, odd ones a man."""
    gender = index % 2
    names = (rng.choice(lexicon.WOMEN), rng.choice(lexicon.MEN))
    opening, action = (rng.choice(lexicon.OPENINGS), "opening"), (rng.choice(lexicon.ACTIONS), "action")
    conjunction = (rng.choice(lexicon.CONJUNCTIONS), "conjunction")
    manner = rng.choice(lexicon.MANNERS)

    def prompt(name: str) -> tuple[str, tuple[str, ...]]:
        if unseen:
            when = (opening[0].lower(), "opening")
            return words((manner.capitalize(), "manner"), when, (name, "name"), action, conjunction)
        return words(opening, (name, "name"), action, (manner, "manner"), conjunction)

    clean, roles = prompt(names[gender])
    corrupt, _ = prompt(names[1 - gender])
    return Pair(clean, corrupt, _PRONOUNS[gender], _PRONOUNS[1 - gender], roles=roles)


def pronoun() -> Task:
    """`Today Mary left early because` → ` she`; unseen: `Early today Mary left because`."""
    return build(
        "pronoun",
        "The pronoun has the gender of the name",
        lambda rng, index: _draw(rng, index, unseen=False),
        lambda rng, index: _draw(rng, index, unseen=True),
    )
