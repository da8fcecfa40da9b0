"""Turns the content of a circuit file of an earlier version into that of the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from circuit_tui.core.circuits.schema import SCHEMA
from circuit_tui.core.errors import UserError

VERSION_1 = "circuit-tui/circuit/1"
_NEW_IN_2 = ("objectives", "snapshots", "edges", "groups", "noted")
_NEW_IN_NODES = ("labels", "mark", "note")
_NEW_IN_TASK = ("bos", "chat_date", "tokens_sha256")


def upgrade(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns `data`, the content of the file at `path`, in the present version. All of it that is valid stays so.

    Version 1 differs from version 2 in that it has no snapshots, no edges and nothing that a user says of nodes. It
    says neither that prompts begin with BOS, as they always did, nor which tokens they are.

    Raises:
        UserError: another schema, or a key that its version does not have.
    """
    found = data.get("schema")
    if found == SCHEMA:
        return data
    if found == VERSION_1:
        for key in _NEW_IN_2:
            if key in data:
                raise UserError(f"{path}: $.{key}: is not a key of {VERSION_1!r}")
        task = data.get("task")
        for key in _NEW_IN_TASK:
            if isinstance(task, dict) and key in task:
                raise UserError(f"{path}: $.task.{key}: is not a key of {VERSION_1!r}")
        _check_nodes(data, path)
        return {**data, "schema": SCHEMA}
    named = "it names no schema" if found is None else f"its schema is {found!r}"
    raise UserError(f"{path}: {named}, this version reads {SCHEMA!r} and {VERSION_1!r}; `find --out` writes such files")


def _check_nodes(data: dict[str, Any], path: Path) -> None:
    """Raises UserError if a node of version 1 has a key that only version 2 has."""
    sites = data.get("sites")
    for i, site in enumerate(sites if isinstance(sites, list) else ()):
        nodes = site.get("nodes") if isinstance(site, dict) else None
        for j, node in enumerate(nodes if isinstance(nodes, list) else ()):
            for key in _NEW_IN_NODES:
                if isinstance(node, dict) and key in node:
                    raise UserError(f"{path}: $.sites[{i}].nodes[{j}].{key}: is not a key of {VERSION_1!r}")
