"""The state of a session, to and from JSON values: circuit, undo and redo, snapshots, provenance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.errors import UserError
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
            done, undone = ([_edit_of(edit) for edit in data[name]] for name in ("done", "undone"))
            found = dict(data["found"])
            nodes = None if found["nodes"] is None else _circuit(found["nodes"], n_nodes)
            found |= {"warnings": tuple(found["warnings"]), "nodes": nodes}
            return cls(
                history=History(_circuit(data["kept"], n_nodes), done, undone),
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
    return {"text": edit.text, "switched": edit.nodes.tolist()}


def _edit_of(data: dict[str, Any]) -> Edit:
    return Edit(data["text"], torch.tensor(data["switched"], dtype=torch.long))
