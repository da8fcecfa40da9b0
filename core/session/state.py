"""An open session as JSON values, and back: circuit, undo and redo, snapshots, where the circuit came from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from circuit_tui.core.circuits.provenance import Found
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.journal import digest
from circuit_tui.core.session.history import Edit, History
from circuit_tui.core.splice.problem import Problem

if TYPE_CHECKING:
    from circuit_tui.core.session.session import Session


class Restorable:
    """The part of a session that can be stored and restored. Nodes are the numbers of the session's table."""

    problem: Problem
    _history: History
    _snapshots: dict[str, Tensor]
    _found: Found
    _change: str
    _dirty: bool

    def _refresh(self, change: str) -> None:
        """Makes the history's circuit the one that is measured."""
        raise NotImplementedError

    def subject(self) -> dict[str, Any]:
        """What is open: equal where a stored state, or a search that was cut off, can go on. JSON values."""
        from circuit_tui.core.runs.run_one import subject_of

        space = self.problem.space
        nodes = digest(space.site, space.position, space.latent)
        return {**subject_of(cast("Session", self)).model_dump(mode="json"), "nodes_digest": nodes}

    def state(self) -> dict[str, Any]:
        """All that the user has done, as JSON values."""
        found = {**asdict(self._found), "nodes": None if self._found.nodes is None else _numbers(self._found.nodes)}
        return {
            "kept": _numbers(self._history.kept),
            "done": [_edit_data(edit) for edit in self._history.done],
            "undone": [_edit_data(edit) for edit in self._history.undone],
            "snapshots": {name: _numbers(kept) for name, kept in self._snapshots.items()},
            "change": self._change,
            "dirty": self._dirty,
            "found": found,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Becomes what `state` says, undo and redo included.

        Raises:
            UserError: it is no such state, or of something else than what is open.
        """
        n_nodes = len(self.problem.space)
        try:
            done, undone = ([_edit_of(edit) for edit in state[name]] for name in ("done", "undone"))
            history = History(_circuit(state["kept"], n_nodes), done, undone)
            snapshots = {str(name): _circuit(nodes, n_nodes) for name, nodes in state["snapshots"].items()}
            found = dict(state["found"])
            nodes = None if found["nodes"] is None else _circuit(found["nodes"], n_nodes)
            found |= {"warnings": tuple(found["warnings"]), "nodes": nodes}
            self._found, change, dirty = Found(**found), str(state["change"]), bool(state["dirty"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"the stored session cannot be restored: {error}") from error
        self._history, self._snapshots = history, snapshots
        self._refresh(change)
        self._dirty = dirty


def _circuit(numbers: list[int], n_nodes: int) -> Tensor:
    kept = torch.zeros(n_nodes, dtype=torch.bool)
    kept[torch.tensor(numbers, dtype=torch.long)] = True
    return kept


def _numbers(kept: Tensor) -> list[int]:
    return [int(node) for node in kept.nonzero()[:, 0]]


def _edit_data(edit: Edit) -> dict[str, Any]:
    return {"text": edit.text, "switched": edit.switched.tolist()}


def _edit_of(data: dict[str, Any]) -> Edit:
    return Edit(data["text"], torch.tensor(data["switched"], dtype=torch.long))
