"""Greater-than: an event ends in a later year than it began.

Hanna et al. 2023 (arXiv:2305.00586): the prompt gives the century of the end, the model the last two digits. The
corrupt prompt starts in the year 01, after which every later year is possible. One logit difference per prompt: a
sampled later year against a sampled year that is not later. The latter is never 01 or earlier, so that after the
corrupt prompt the two are equally likely.
"""

from __future__ import annotations

import random

from circuit_tui.core.tasks.builtin import lexicon
from circuit_tui.core.tasks.builtin.generate import build, words
from circuit_tui.core.tasks.task import Pair, Task

FIRST_START, LAST_START = 11, 88
"""Starting years leave ten years or more on either side."""


def _draw(rng: random.Random, index: int, *, unseen: bool) -> Pair:
    start = rng.randint(FIRST_START, LAST_START)
    answer, wrong = rng.randint(start + 1, 99), rng.randint(2, start)
    event, span = (rng.choice(lexicon.EVENTS), "event"), (rng.choice(lexicon.SPANS), "span")
    century = rng.choice(lexicon.CENTURIES)

    def prompt(year: str) -> tuple[str, tuple[str, ...]]:
        begin, end = ((century, "century"), (year, "start")), (century, "end")
        if unseen:
            return words(("From", "from"), *begin, ("the", "det"), event, span, ("until", "to"), end)
        return words(("The", "det"), event, span, ("from", "from"), *begin, ("to", "to"), end)

    clean, roles = prompt(lexicon.YEARS[start])
    corrupt, _ = prompt(lexicon.YEARS[1])
    return Pair(clean, corrupt, f" {lexicon.YEARS[answer]}", f" {lexicon.YEARS[wrong]}", roles=roles)


def greater_than() -> Task:
    """`The war lasted from 17 32 to 17` → ` 45`, not ` 20`; unseen: `From 17 32 the war lasted until 17`."""
    return build(
        "greater-than",
        "The end of an event is a later year than its start",
        lambda rng, index: _draw(rng, index, unseen=False),
        lambda rng, index: _draw(rng, index, unseen=True),
    )
