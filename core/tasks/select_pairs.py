"""Which pairs of a built-in task suit a tokenizer.

The words of a built-in task are single tokens for the bundled model; for another model some answers may be several.
Those pairs are left out, since single tokens are evaluated in half the time, unless too few would be left. A prompts
file is taken as it is: its author meant every line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.task import Pair, Task
from circuit_tui.core.tasks.tokens import answer_tokens

MIN_PAIRS = {"train": 32, "test": 8}
"""The fewest pairs of a split with which a task is opened."""


def select_pairs(task: Task, tokenizer: Any, chat: bool = False) -> tuple[Task, tuple[str, ...]]:
    """Returns `task` without the pairs that do not suit `tokenizer`, and whole sentences about what was left out.

    Raises:
        UserError: too few are left; the line says why the first was left out.
    """
    single: list[Pair] = []
    usable: list[Pair] = []
    problem: UserError | None = None
    for pair in task.pairs:
        try:
            answers = answer_tokens(pair, tokenizer, task.name, chat)
        except UserError as error:
            problem = problem or error
            continue
        usable.append(pair)
        if all(len(answer) == 1 for answer in answers):
            single.append(pair)
    if len(single) == len(task.pairs):
        return task, ()
    name, total = task.name, len(task.pairs)
    if _enough(single):
        why = problem or "an answer is several tokens for this model"
        return replace(task, pairs=tuple(single)), (
            f"{total - len(single)} of {total} prompts of {name} left out: {why}.",
        )
    if not _enough(usable):
        assert problem is not None
        raise problem
    notes = [
        f"{len(usable) - len(single)} of {total} prompts of {name} have an answer of several tokens for this model."
    ]
    if problem is not None:
        notes.append(f"{total - len(usable)} of {total} prompts of {name} left out: {problem}.")
    return replace(task, pairs=tuple(usable)), tuple(notes)


def _enough(pairs: Sequence[Pair]) -> bool:
    return all(sum(pair.split == split for pair in pairs) >= fewest for split, fewest in MIN_PAIRS.items())
