"""Undo and redo without limit: every edit is the set of nodes it switched, and switching them again takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from circuit_tui.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the circuit: what it was called and the numbers of the nodes it switched, `[switched]`."""

    text: str
    switched: Tensor


class History:
    """The current circuit and how it came to be: `done` edits led to it, `undone` ones were taken back.

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
        """The edits that can be made again, the one undone first first."""
        return tuple(self._undone)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to make again."""
        return bool(self._undone)

    def become(self, kept: Tensor, text: str) -> None:
        """Makes `kept` the current circuit; forgets what was undone. An edit that switches nothing is not recorded."""
        switched = (kept != self.kept).nonzero()[:, 0]
        if len(switched) == 0:
            return
        self._done.append(Edit(text, switched))
        self._undone.clear()
        self._switch(switched)

    def undo(self) -> Edit:
        """Takes the last edit back and returns it.

        Raises:
            UserError: there is none.
        """
        if not self._done:
            raise UserError("nothing to undo")
        edit = self._done.pop()
        self._undone.append(edit)
        self._switch(edit.switched)
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
        self._switch(edit.switched)
        return edit

    def _switch(self, switched: Tensor) -> None:
        kept = self.kept.clone()
        kept[switched] = ~kept[switched]
        self.kept = kept
