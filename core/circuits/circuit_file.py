"""Reads and writes circuit files. A file is written whole or not at all; an error is one line that names its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from circuit_tui.core.atomic_file import read_text, write_text
from circuit_tui.core.circuits.mask_file import ENDING, write_masks
from circuit_tui.core.circuits.schema import CircuitFile, GroupPart, SnapshotNode, SnapshotPart
from circuit_tui.core.circuits.upgrade import upgrade
from circuit_tui.core.errors import UserError


def now() -> str:
    """Returns the present time in the form of the file's `created`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_circuit(path: Path) -> CircuitFile:
    """Reads a circuit file of any version; checks its form, and that its nodes lie within its own SAEs and positions.

    `size` and the numbers are not checked here: a recomputation does that.

    Raises:
        UserError: the file is missing, empty, truncated, not JSON or of another schema, a field is missing or wrong
            (named by its JSON path), or a latent or position is out of range.
    """
    from pydantic import ValidationError  # with the models already imported this costs nothing

    text = read_text(path, "circuit file")
    stored = _parse(path, text)
    data = upgrade(stored, path)
    try:
        file = CircuitFile.model_validate_json(text if data is stored else json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UserError(f"{path}: {_json_path(data, first['loc'])}: {_message(first)}") from error
    for where, problem in _out_of_range(file):
        raise UserError(f"{path}: {where}: {problem}")
    return file


def write_circuit(file: CircuitFile, path: Path) -> Path:
    """Writes a circuit file in the present version (`write_text`); returns the absolute path.

    Raises:
        UserError: `write_text` cannot write it.
    """
    return write_text(json.dumps(file.data(), indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_export(file: CircuitFile, path: Path) -> Path:
    """Writes `file` in the form that the name of `path` asks for; returns the absolute path.

    A name that ends in ``.masks.json`` gets published masks, any other name the circuit file itself.

    Raises:
        UserError: the file cannot be written there.
    """
    return write_masks(file, path) if path.name.endswith(ENDING) else write_circuit(file, path)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise UserError(f"{path}:{error.lineno}: the file ends too early; it was cut off") from error
        raise UserError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:  # nested beyond reason, or a number of thousands of digits
        raise UserError(f"{path}: not a circuit file: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a circuit file: the top level is not an object")
    return data


def _json_path(data: Any, loc: tuple[int | str, ...]) -> str:
    """Returns a pydantic location as ``$.sites[0].nodes[3].latent``, less the union members that pydantic appends."""
    path = "$"
    for depth, key in enumerate(loc):
        if isinstance(data, list) and isinstance(key, int):
            path += f"[{key}]"
            data = data[key] if key < len(data) else None
        elif isinstance(data, dict) and (key in data or depth == len(loc) - 1):  # the last key may be a missing one
            path += f".{key}"
            data = data.get(key)
        else:
            break
    return path


def _message(error: Any) -> str:
    message = str(error["msg"])
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return "is not a key of this schema"
    return message.removeprefix("Value error, ").replace("Input should be", "should be")


def _out_of_range(file: CircuitFile) -> Iterator[tuple[str, str]]:
    """Yields (JSON path, message) for everything outside the file's own SAEs and positions, or listed twice."""
    positions = set(file.task.positions)
    hooks: set[str] = set()
    for i, site in enumerate(file.sites):
        if site.hook in hooks:
            yield f"$.sites[{i}].hook", f"{site.hook} is listed twice"
        hooks.add(site.hook)
        seen: set[tuple[str, int]] = set()
        for j, node in enumerate(site.nodes):
            where = f"$.sites[{i}].nodes[{j}]"
            if node.latent >= site.sae.d_sae:
                yield f"{where}.latent", f"{node.latent} is out of range, the SAE has {site.sae.d_sae} latents"
            if node.position not in positions:
                yield f"{where}.position", f"{node.position!r} is none of the task's positions"
            if (node.position, node.latent) in seen:
                yield where, f"latent {node.latent} at {node.position!r} is listed twice"
            seen.add((node.position, node.latent))
    d_sae = {site.hook: site.sae.d_sae for site in file.sites}
    yield from _named_out_of_range("snapshots", file.snapshots, positions, d_sae)
    yield from _edges_out_of_range(file)
    for i, noted in enumerate(file.noted):
        yield from _node_out_of_range(noted, f"$.noted[{i}]", positions, d_sae)
    yield from _named_out_of_range("groups", file.groups, positions, d_sae)


def _edges_out_of_range(file: CircuitFile) -> Iterator[tuple[str, str]]:
    """Yields for the ends of edges what `_out_of_range` yields for the circuit: latents must be its nodes."""
    nodes, positions, hooks = set(file.nodes()), set(file.task.positions), {site.hook for site in file.sites}
    for i, end in enumerate(file.edges.ends if file.edges is not None else ()):
        where = f"$.edges.ends[{i}]"
        if end.kind == "latent" and (end.hook, end.position, end.latent) not in nodes:
            yield where, f"latent {end.latent} at {end.position!r} of {end.hook!r} is no node of the circuit"
        elif end.kind == "error" and end.hook not in hooks:
            yield where, f"{end.hook!r} is none of the sites' hooks"
        elif end.kind in ("token", "error") and end.position not in positions:
            yield where, f"{end.position!r} is none of the task's positions"


def _named_out_of_range(
    key: str, named: Sequence[SnapshotPart | GroupPart], positions: set[str], d_sae: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yields for the snapshots or groups under `key` what `_out_of_range` yields for the circuit."""
    names: set[str] = set()
    for i, part in enumerate(named):
        if part.name in names:
            yield f"$.{key}[{i}].name", f"{part.name!r} is listed twice"
        names.add(part.name)
        seen: set[tuple[str, str, int]] = set()
        for j, node in enumerate(part.nodes):
            where = f"$.{key}[{i}].nodes[{j}]"
            yield from _node_out_of_range(node, where, positions, d_sae)
            if (node.hook, node.position, node.latent) in seen:
                yield where, f"latent {node.latent} at {node.position!r} is listed twice"
            seen.add((node.hook, node.position, node.latent))


def _node_out_of_range(
    node: SnapshotNode, where: str, positions: set[str], d_sae: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Yields for one node of any hook what `_out_of_range` yields for the circuit."""
    if node.hook not in d_sae:
        yield f"{where}.hook", f"{node.hook!r} is none of the sites' hooks"
    elif node.latent >= d_sae[node.hook]:
        yield f"{where}.latent", f"{node.latent} is out of range, the SAE has {d_sae[node.hook]} latents"
    if node.position not in positions:
        yield f"{where}.position", f"{node.position!r} is none of the task's positions"
