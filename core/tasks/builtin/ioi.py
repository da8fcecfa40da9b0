"""Indirect object identification: which of two people received the thing.

Wang et al. 2022 (arXiv:2211.00593). S is the giver, named twice (S1, S2); IO is the receiver. Half of the prompts name
IO first (ABBA), half name S first (BABA). The corrupt prompt puts the IO's name in the place of S2, so that the wrong
answer becomes the right one. Both orders have the same roles, S1 and IO trading places.
"""

from __future__ import annotations

import random
from itertools import combinations

from circuit_tui.core.tasks.builtin import lexicon
from circuit_tui.core.tasks.builtin.generate import build, words
from circuit_tui.core.tasks.task import Pair, Task

_COUPLES = list(combinations(lexicon.NAMES, 2))
random.Random("circuit-tui/ioi/couples").shuffle(_COUPLES)


def _draw(rng: random.Random, index: int, *, unseen: bool) -> Pair:
    """Even and odd indices share two names and trade their parts: each name is right as often as it is wrong."""
    couple = _COUPLES[index // 2 % len(_COUPLES)]
    io, subject = couple if index % 2 == 0 else couple[::-1]
    io_first = index // 2 % 2 == 0
    motion, place = rng.choice(lexicon.MOTIONS), rng.choice(lexicon.PLACES)
    transfer, thing = rng.choice(lexicon.TRANSFERS), rng.choice(lexicon.THINGS)

    def prompt(giver: str) -> tuple[str, tuple[str, ...]]:
        first, second = ((io, "IO"), (subject, "S1")) if io_first else ((subject, "S1"), (io, "IO"))
        people = (first, ("and", "and"), second, (motion, "motion"), (place, "place"))
        gift = ((giver, "S2"), (transfer, "transfer"), ("the", "thing_det"), (thing, "thing"), ("to", "end"))
        if unseen:
            return words(*people, (".", "comma"), ("Then", "opening"), *gift)
        return words(("When", "opening"), *people, (",", "comma"), *gift)

    clean, roles = prompt(subject)
    corrupt, _ = prompt(io)
    return Pair(clean, corrupt, f" {io}", f" {subject}", roles=roles)


def ioi() -> Task:
    """`When Mary and John went home , John gave the book to` → ` Mary`; unseen: the same as two sentences."""
    return build(
        "ioi",
        "Who was given the thing: the person named once (ABBA and BABA mixed)",
        lambda rng, index: _draw(rng, index, unseen=False),
        lambda rng, index: _draw(rng, index, unseen=True),
    )
