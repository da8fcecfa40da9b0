"""The parts of a circuit file that hold what the user says of latents and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuit_tui.core.circuits.schema import GroupPart, LabelPart, NotedPart, SnapshotNode
from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.views import NodeTable


def said_of(annotations: Annotations, table: NodeTable, node: int) -> dict[str, Any]:
    """Returns the fields `labels`, `mark` and `note` of a node."""
    key = (table.site[node], table.latent[node])
    labels = tuple(
        LabelPart(text=label.text, source=label.source, date=label.date, score=label.score)
        for label in annotations.labels.get(key, ())
    )
    return {"labels": labels, "mark": node in annotations.marks, "note": annotations.notes.get(key, "")}


def noted_parts(annotations: Annotations, table: NodeTable, kept: bytes) -> tuple[NotedPart, ...]:
    """Returns the nodes outside the circuit `kept` that the file needs, so that nothing said of a node is lost.

    They are marked nodes, and one node of each latent with a label or a note that has no kept node.
    """
    latents = set(annotations.labels) | set(annotations.notes)
    missing = latents - {(table.site[node], table.latent[node]) for node, on in enumerate(kept) if on}
    chosen = [node for node in sorted(annotations.marks) if not kept[node]]
    for node in range(len(table)) if missing else ():
        key = (table.site[node], table.latent[node])
        if key in missing:
            missing.remove(key)
            chosen.append(node)
    return tuple(NotedPart(**_name(table, node), **said_of(annotations, table, node)) for node in sorted(set(chosen)))


def group_parts(
    annotations: Annotations, table: NodeTable, effects: Mapping[tuple[int, ...], float]
) -> tuple[GroupPart, ...]:
    """Returns the groups; `effects` has the effect of each set of nodes that is known."""
    return tuple(
        GroupPart(
            name=group.name,
            colour=group.colour,
            nodes=tuple(SnapshotNode(**_name(table, node)) for node in group.nodes),
            effect=effects.get(group.nodes),
        )
        for group in annotations.groups
    )


def _name(table: NodeTable, node: int) -> dict[str, Any]:
    return {
        "hook": table.sites[table.site[node]].hook,
        "position": table.positions[table.position[node]],
        "latent": table.latent[node],
    }
