"""The built-in tasks, by name. A new task is one file with a function that builds it, and one line here.

The demo's tasks are sentences of the bundled model's language. The tasks of SmolLM2 are prompts files of `examples/`.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, partial

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.builtin import code, greater_than, ioi, pronoun, smollm2, sva
from circuit_tui.core.tasks.task import Task

DEFAULT_TASK = "sva-rc"
_BUILDERS: dict[str, Callable[[], Task]] = {
    "sva-simple": sva.simple,
    "sva-rc": sva.rc,
    "sva-pp": sva.pp,
    "ioi": ioi.ioi,
    "pronoun": pronoun.pronoun,
    "greater-than": greater_than.greater_than,
    "code-list": code.code_list,
    "code-dict": code.code_dict,
    **{f"smollm2-{name}": partial(smollm2.load, name) for name in smollm2.NAMES},
}
SMOLLM2_TASKS: tuple[str, ...] = tuple(f"smollm2-{name}" for name in smollm2.NAMES)
"""The tasks in English made for SmolLM2."""
DEMO_TASKS: tuple[str, ...] = tuple(name for name in _BUILDERS if name not in SMOLLM2_TASKS)
"""The tasks that the bundled model can do."""


def names() -> tuple[str, ...]:
    """The names of the built-in tasks, in the order in which lists show them."""
    return tuple(_BUILDERS)


def builtin(name: str) -> Task:
    """The built-in task `name`; the same pairs every time.

    Raises:
        UserError: there is none of that name; the line suggests the nearest.
    """
    if name not in _BUILDERS:
        close = get_close_matches(name.lower(), _BUILDERS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown task {name!r}: {hint}known tasks: {', '.join(_BUILDERS)}")
    return _build(name)


@cache
def _build(name: str) -> Task:
    return _BUILDERS[name]()
