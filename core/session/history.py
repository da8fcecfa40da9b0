"""Undo and redo without limit: an edit is a set of nodes that it toggles, and toggling them again takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from circuit_tui.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the circuit: its text, and the numbers of the nodes that it toggles, `[toggled]`."""

    text: str
    nodes: Tensor


class History:
    """The current circuit, the edits that led to it (`done`), and the edits that were taken back (`undone`).

    Attributes:
        kept: `[node]` bool, the current circuit; never changed in place.
    """

    def __init__(self, kept: Tensor, done: Sequence[Edit] = (), undone: Sequence[Edit] = ()) -> None:
        self.kept = kept.clone()
        self._done, self._undone = list(done), list(undone)

    @property
    def done(self) -> tuple[Edit, ...]:
        """The edits that can be taken back, the oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Edit, ...]:
        """The edits that can be made again, in the order in which they were undone."""
        return tuple(self._undone)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to make again."""
        return bool(self._undone)

    def change_to(self, kept: Tensor, text: str) -> None:
        """Makes `kept` the current circuit and forgets undone edits. An edit that toggles nothing is not recorded."""
        nodes = (kept != self.kept).nonzero()[:, 0]
        if len(nodes) == 0:
            return
        self._done.append(Edit(text, nodes))
        self._undone.clear()
        self._toggle(nodes)

    def undo(self) -> Edit:
        """Takes the last edit back and returns it.

        Raises:
            UserError: there is none.
        """
        if not self._done:
            raise UserError("nothing to undo")
        edit = self._done.pop()
        self._undone.append(edit)
        self._toggle(edit.nodes)
        return edit

    def redo(self) -> Edit:
        """Makes the last undone edit again and returns it.

        Raises:
            UserError: there is none.
        """
        if not self._undone:
            raise UserError("nothing to redo")
        edit = self._undone.pop()
        self._done.append(edit)
        self._toggle(edit.nodes)
        return edit

    def _toggle(self, nodes: Tensor) -> None:
        kept = self.kept.clone()
        kept[nodes] = ~kept[nodes]
        self.kept = kept
