"""``circuit-tui tasks``: the built-in tasks."""

from __future__ import annotations

from typing import Any

from circuit_tui.core.tasks.task import Task
from circuit_tui.tui.commands import options, output


def tasks(json: options.Json = False, debug: options.Debug = False) -> int:
    """List the built-in tasks."""
    from circuit_tui.core.tasks.builtin import builtin, names

    rows = [_plain_values(builtin(name)) for name in names()]
    if json:
        output.print_json({"tasks": rows})
        return 0
    output.print_table(
        ("task", "train", "test", "unseen", "positions", "description"),
        [
            (
                row["name"],
                str(row["n_train"]),
                str(row["n_test"]),
                str(row["n_unseen"]),
                " ".join(row["positions"]),
                row["description"],
            )
            for row in rows
        ],
        right=("train", "test", "unseen"),
    )
    return 0


def _plain_values(task: Task) -> dict[str, Any]:
    """One task in plain values. `positions` are the roles its prompts name, in order of appearance."""
    roles = dict.fromkeys(role for pair in task.pairs for role in pair.roles)
    return {
        "name": task.name,
        "description": task.description,
        "n_train": len(task.split("train")),
        "n_test": len(task.split("test")),
        "n_unseen": len(task.split("unseen")),
        "positions": list(roles),
    }
