"""Tasks over the tiny vocabulary: prompts of one length, of several, and with named positions."""

from __future__ import annotations

import random
from dataclasses import replace

from circuit_tui.core.tasks.task import Pair, Split, Task
from tiny.models import ADJECTIVES, NOUNS, VERBS

# A role may hold several tokens of one prompt ("the big old cat"), and not every prompt has every role.
_PATTERNS = {
    5: ("det", "subject", "prep", "det2", "object"),
    6: ("det", "adj", "subject", "prep", "det2", "object"),
    7: ("det", "adj", "adj", "subject", "prep", "det2", "object"),
    8: ("det", "adj", "adj", "adj", "subject", "prep", "det2", "object"),
}
_CHOICES = {
    "det": ("the", "a"),
    "det2": ("the", "a"),
    "adj": ADJECTIVES,
    "prep": ("near", "by"),
    "subject": NOUNS,
    "object": NOUNS,
}


def with_multi_token_answers(task: Task, seed: int = 0, lengths: tuple[int, int] | None = None) -> Task:
    """`task` with answers of `lengths` words, or of one to three. Some share their first word."""
    draw = random.Random(seed)
    pairs = []
    for index, pair in enumerate(task.pairs):
        alike = draw.sample(NOUNS, index % 2)
        words = lengths or (len(alike) + 1 + draw.randrange(2), len(alike) + 1 + draw.randrange(2))
        right, wrong = ([*alike, *draw.sample(ADJECTIVES, n - len(alike))] for n in words)
        right[len(alike)], wrong[len(alike)] = pair.answer.strip(), pair.wrong.strip()
        pairs.append(replace(pair, answer=" " + " ".join(right), wrong=" " + " ".join(wrong)))
    return replace(task, pairs=tuple(pairs))


def make_task(
    train: tuple[int, ...],
    test: tuple[int, ...],
    *,
    roles: bool = False,
    turn: int = 0,
    seed: int = 0,
) -> Task:
    """A task with one pair for each length in `train` and in `test`, in words.

    The corrupt prompts have the lengths of the clean ones shifted by `turn` places, so that with a turn the two of
    a pair differ in length.
    """
    draw = random.Random(seed)

    def prompt(length: int) -> str:
        return " ".join(draw.choice(_CHOICES[role]) for role in _PATTERNS[length])

    pairs = []
    splits: tuple[tuple[Split, tuple[int, ...]], ...] = (("train", train), ("test", test))
    for split, lengths in splits:
        for index, length in enumerate(lengths):
            answer, wrong = draw.sample(VERBS, 2)
            other = lengths[(index + turn) % len(lengths)]
            named = _PATTERNS[length] if roles else ()
            pairs.append(Pair(prompt(length), prompt(other), f" {answer}", f" {wrong}", split, named))
    return Task("tiny", "random words", tuple(pairs))


TASKS = {
    "index": make_task((6,) * 6, (6,) * 4),
    "roles": make_task((5, 6, 7, 5, 6, 7), (7, 5, 6, 7), roles=True),
    "mixed": make_task((5, 6, 7, 5, 6, 7, 6, 7), (7, 5, 6, 7), turn=1),
    "index-multi": with_multi_token_answers(make_task((6,) * 6, (6,) * 4)),
    "roles-multi": with_multi_token_answers(make_task((5, 6, 7, 5, 6, 7), (7, 5, 6, 7), roles=True), 1),
    "mixed-multi": with_multi_token_answers(make_task((5, 6, 7, 5, 6, 7), (7, 5, 6, 7), turn=1), 2),
    "equal-multi": with_multi_token_answers(make_task((5, 6, 7, 5, 6, 7), (7, 5, 6, 7), turn=1), 2, (3, 2)),
    "longer": make_task((5, 6, 7, 5, 6, 7), (8, 5, 8, 6), turn=1),
}
