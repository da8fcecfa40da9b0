"""The part of a session that is edited: its circuit, with undo and redo, and named snapshots of it.

Every edit is evaluated at once, or estimated where that takes long (`background.py`).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.session.background import Background
from circuit_tui.core.session.history import History
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import NodeTable


class Editable:
    """Nodes are the numbers of `table`.

    Attributes:
        problem: what is open.
        table: the candidate nodes.
    """

    problem: Problem
    table: NodeTable
    _history: History
    _background: Background
    _snapshots: dict[str, Tensor]
    _version: int
    _change: str
    _dirty: bool
    _before: float | None

    @property
    def kept(self) -> Tensor:
        """The current circuit, `[node]` bool."""
        return self._history.kept

    def toggle_node(self, node: int) -> None:
        """Switches one node."""
        self._check_node(node)
        kept = self.kept.clone()
        kept[node] = not kept[node]
        self._become(kept, f"{self._name(node)} {'on' if kept[node] else 'off'}")

    def toggle_latent(self, site: int, latent: int) -> None:
        """Switches a latent at all its positions: off if any is on, else on."""
        chosen = (self.problem.space.site == site) & (self.problem.space.latent == latent)
        if not chosen.any():
            raise UserError(f"latent {latent} at site {site}: not a candidate")
        self._switch(chosen, f"{self.problem.sites[site].short} {latent}")

    def toggle_site(self, site: int) -> None:
        """Switches all candidates of a site: off if any is on, else on."""
        self._check_site(site)
        self._switch(self.problem.space.site == site, f"{self.problem.sites[site].short} all")

    def invert(self) -> None:
        """Keeps what was not kept, and the other way round."""
        self._become(~self.kept, "inverted")

    def only(self, nodes: Collection[int]) -> None:
        """Keeps these nodes and no others."""
        self.replace(nodes, f"only {len(nodes)} nodes")

    def replace(self, nodes: Collection[int], change: str) -> None:
        """Makes the circuit of these nodes the current one; `change` says why."""
        self._become(self._mask(nodes), change)

    def undo(self) -> None:
        """Takes the last edit back. Raises UserError if there is none."""
        self._refresh(f"undo: {self._history.undo().text}")

    def redo(self) -> None:
        """Makes the last undone edit again. Raises UserError if there is none."""
        self._refresh(f"redo: {self._history.redo().text}")

    def save_snapshot(self, name: str) -> None:
        """Remembers the current circuit under a name; an old one of that name is replaced."""
        if not name.strip():
            raise UserError("snapshot: give it a name")
        self._snapshots[name.strip()] = self.kept

    def restore_snapshot(self, name: str) -> None:
        """Makes a remembered circuit current (undoable). Raises UserError if there is none of that name."""
        self._become(self._snapshot(name), f"snapshot {name}")

    def _mask(self, nodes: Collection[int]) -> Tensor:
        kept = torch.zeros(len(self.problem.space), dtype=torch.bool)
        for node in nodes:
            self._check_node(node)
        kept[torch.tensor(sorted(nodes), dtype=torch.long)] = True
        return kept

    def _check_node(self, node: int) -> None:
        if not 0 <= node < len(self.table):
            raise UserError(f"node {node}: out of range, there are {len(self.table)}")

    def _check_site(self, site: int) -> None:
        if not 0 <= site < len(self.problem.sites):
            raise UserError(f"site {site}: out of range, there are {len(self.problem.sites)}")

    def _name(self, node: int) -> str:
        site = self.problem.sites[self.table.site[node]].short
        return f"{site} {self.table.latent[node]}@{self.table.positions[self.table.position[node]]}"

    def _snapshot(self, name: str) -> Tensor:
        if name not in self._snapshots:
            raise UserError(f"snapshot {name!r}: there is none of that name")
        return self._snapshots[name]

    def _switch(self, chosen: Tensor, name: str) -> None:
        kept, on = self.kept.clone(), not bool(self.kept[chosen].any())
        kept[chosen] = on
        self._become(kept, f"{name} {'on' if on else 'off'}")

    def _become(self, kept: Tensor, change: str) -> None:
        self._history.become(kept, change)
        self._refresh(change)

    def _refresh(self, change: str) -> None:
        self._change, self._version = change, self._version + 1
        self._before = self._background.test.faithfulness
        if not torch.equal(self._background.kept, self.kept):  # else what is known of the circuit still holds
            self._background.follow(self.kept)
            self._dirty = True
