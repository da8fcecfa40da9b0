"""What of a built-in task a tokenizer can ask.

The words of a built-in task are single tokens for the bundled model; for another some of its answers may not be. Those
pairs are left out rather than the task refused. A prompts file is taken as it is: its maker meant every line.
"""

from __future__ import annotations

from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.task import Pair, Task
from circuit_tui.core.tokens import answer_tokens

FEWEST = {"train": 32, "test": 8}
"""Pairs that have to be left of a split for the rest to be worth opening."""


def fit_task(task: Task, tokenizer: Any, chat: bool = False) -> tuple[Task, tuple[str, ...]]:
    """`task` without the pairs that `tokenizer` cannot ask, and whole sentences about what was left out.

    Raises:
        UserError: too few are left; the line says why the first was left out.
    """
    kept: list[Pair] = []
    problem: UserError | None = None
    for pair in task.pairs:
        try:
            answer_tokens(pair, tokenizer, task.name, chat)
            kept.append(pair)
        except UserError as error:
            problem = problem or error
    if problem is None:
        return task, ()
    left = Task(task.name, task.description, tuple(kept))
    if any(len(left.split(split)) < fewest for split, fewest in FEWEST.items()):  # type: ignore[arg-type]
        raise problem
    return left, (f"{len(task.pairs) - len(kept)} of {len(task.pairs)} prompts of {task.name} left out: {problem}.",)
