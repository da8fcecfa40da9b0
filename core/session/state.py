"""The state of a session, to and from JSON values: circuit, undo and redo, snapshots, provenance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import Annotations, Group, Label
from circuit_tui.core.session.history import Edit, History


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything that the user has done in a session. Circuits are `[node]` bool.

    `change` is the text of the last edit; `dirty` means that there are edits since the last export.
    """

    history: History
    snapshots: dict[str, Tensor]
    provenance: Provenance
    change: str
    dirty: bool

    def data(self) -> dict[str, Any]:
        """Returns the state as JSON values; circuits are lists of node numbers."""
        nodes = self.provenance.nodes
        found = {**asdict(self.provenance), "nodes": None if nodes is None else _numbers(nodes)}
        return {
            "kept": _numbers(self.history.kept),
            "annotations": annotations_data(self.history.annotations),
            "done": [_edit_data(edit) for edit in self.history.done],
            "undone": [_edit_data(edit) for edit in self.history.undone],
            "snapshots": {name: _numbers(kept) for name, kept in self.snapshots.items()},
            "change": self.change,
            "dirty": self.dirty,
            "found": found,
        }

    @classmethod
    def of(cls, data: dict[str, Any], n_nodes: int) -> Self:
        """Returns the state that `data` holds, for a problem with `n_nodes` candidates.

        Raises:
            UserError: `data` is no such state, or the state of another problem.
        """
        try:
            done, undone = ([_edit_of(edit, n_nodes) for edit in data[name]] for name in ("done", "undone"))
            found = dict(data["found"])
            nodes = None if found["nodes"] is None else _circuit(found["nodes"], n_nodes)
            objectives = tuple((kind, target) for kind, target in found.get("objectives", ()))
            found |= {"warnings": tuple(found["warnings"]), "nodes": nodes, "objectives": objectives}
            found["ablations"] = tuple(found.get("ablations", ()))
            return cls(
                history=History(
                    _circuit(data["kept"], n_nodes), done, undone, annotations_of(data.get("annotations"), n_nodes)
                ),
                snapshots={str(name): _circuit(kept, n_nodes) for name, kept in data["snapshots"].items()},
                provenance=Provenance(**found),
                change=str(data["change"]),
                dirty=bool(data["dirty"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"the stored session cannot be restored: {error}") from error


def _circuit(numbers: list[int], n_nodes: int) -> Tensor:
    kept = torch.zeros(n_nodes, dtype=torch.bool)
    kept[torch.tensor(numbers, dtype=torch.long)] = True
    return kept


def _numbers(kept: Tensor) -> list[int]:
    return [int(node) for node in kept.nonzero()[:, 0]]


def _edit_data(edit: Edit) -> dict[str, Any]:
    data: dict[str, Any] = {"text": edit.text, "switched": edit.nodes.tolist()}
    if edit.before is not None and edit.after is not None:
        data |= {"before": annotations_data(edit.before), "after": annotations_data(edit.after)}
    return data


def _edit_of(data: dict[str, Any], n_nodes: int) -> Edit:
    nodes = torch.tensor(data["switched"], dtype=torch.long)
    if "before" not in data:
        return Edit(data["text"], nodes)
    return Edit(data["text"], nodes, annotations_of(data["before"], n_nodes), annotations_of(data["after"], n_nodes))


def annotations_data(annotations: Annotations) -> dict[str, Any]:
    """Returns annotations as JSON values."""
    return {
        "labels": [[*key, [asdict(label) for label in labels]] for key, labels in annotations.labels.items()],
        "notes": [[*key, note] for key, note in annotations.notes.items()],
        "marks": sorted(annotations.marks),
        "groups": [asdict(group) for group in annotations.groups],
    }


def annotations_of(data: dict[str, Any] | None, n_nodes: int) -> Annotations:
    """Returns the annotations that `data` holds; none for None, which older states have.

    Raises:
        ValueError: a node is out of range.
        KeyError, TypeError: `data` holds no annotations.
    """
    if data is None:
        return Annotations()
    groups = tuple(Group(each["name"], each["colour"], tuple(map(int, each["nodes"]))) for each in data["groups"])
    marks = frozenset(map(int, data["marks"]))
    if any(not 0 <= node < n_nodes for node in (*marks, *(node for group in groups for node in group.nodes))):
        raise ValueError("a marked or grouped node is out of range")
    labels = {(int(s), int(k)): tuple(Label(**label) for label in labels) for s, k, labels in data["labels"]}
    return Annotations(labels, {(int(s), int(k)): str(note) for s, k, note in data["notes"]}, marks, groups)
