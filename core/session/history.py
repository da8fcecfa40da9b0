"""Undo and redo without limit: an edit is a set of nodes that it toggles, and toggling them again takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import Annotations


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: its text, the numbers of the nodes that it toggles, `[toggled]`, and the annotations on both sides.

    `before` and `after` are None if it does not change them.
    """

    text: str
    nodes: Tensor
    before: Annotations | None = None
    after: Annotations | None = None


class History:
    """The current circuit, the edits that led to it (`done`), and the edits that were taken back (`undone`).

    Attributes:
        kept: `[node]` bool, the current circuit; never changed in place.
        annotations: what the user says of latents and nodes.
    """

    def __init__(
        self,
        kept: Tensor,
        done: Sequence[Edit] = (),
        undone: Sequence[Edit] = (),
        annotations: Annotations | None = None,
    ) -> None:
        self.kept, self.annotations = kept.clone(), annotations or Annotations()
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

    def change_to(self, kept: Tensor, text: str, annotations: Annotations | None = None) -> None:
        """Makes `kept` the current circuit, with `annotations` if not None, and forgets undone edits.

        An edit that changes nothing is not recorded.
        """
        nodes = (kept != self.kept).nonzero()[:, 0]
        said = annotations is not None and annotations != self.annotations
        if len(nodes) == 0 and not said:
            return
        edit = Edit(text, nodes, self.annotations, annotations) if said else Edit(text, nodes)
        self._done.append(edit)
        self._undone.clear()
        self._make(nodes, edit.after)

    def undo(self) -> Edit:
        """Takes the last edit back and returns it.

        Raises:
            UserError: there is none.
        """
        if not self._done:
            raise UserError("nothing to undo")
        edit = self._done.pop()
        self._undone.append(edit)
        self._make(edit.nodes, edit.before)
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
        self._make(edit.nodes, edit.after)
        return edit

    def _make(self, nodes: Tensor, annotations: Annotations | None) -> None:
        self.annotations = self.annotations if annotations is None else annotations
        kept = self.kept.clone()
        kept[nodes] = ~kept[nodes]
        self.kept = kept
