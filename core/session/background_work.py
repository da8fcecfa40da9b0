"""What a session computes when no command waits, one increment at a time, in the order in which a user misses it."""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.session.audits import Audits
from circuit_tui.core.session.circuit_numbers import CircuitNumbers
from circuit_tui.core.session.edges import SessionEdges
from circuit_tui.core.session.explanations import Explanations
from circuit_tui.core.session.group_effects import GroupEffects
from circuit_tui.core.session.latent_columns import LatentColumnsWork
from circuit_tui.core.session.searches import Searches
from circuit_tui.core.session.snapshots import Snapshots


class BackgroundWork:
    """The unfinished work of a session's parts."""

    def __init__(
        self,
        numbers: CircuitNumbers,
        explanations: Explanations,
        columns: LatentColumnsWork,
        snapshots: Snapshots,
        audits: Audits,
        groups: GroupEffects,
        edges: SessionEdges,
        searches: Searches,
    ) -> None:
        self._numbers, self._explanations, self._columns = numbers, explanations, columns
        self._snapshots, self._audits = snapshots, audits
        self._groups, self._edges, self._searches = groups, edges, searches

    def advance(self, kept: Tensor, annotations: Annotations) -> bool:
        """Runs one increment for the circuit `kept` `[node]` bool; returns whether it was one of an audit.

        Exact numbers of the circuit come first, then what the user has asked for, then what lists and files show.
        """
        numbers, columns = self._numbers, self._columns
        if not numbers.estimated and (
            self._explanations.advance(kept)
            or columns.compute_kept(kept)
            or self._groups.advance(kept, annotations)
            or self._searches.advance()
            or columns.advance_push()
            or self._edges.advance()
        ):
            return False
        if not numbers.done:
            numbers.advance()
        elif not self._snapshots.done:
            self._snapshots.advance()
        elif self._audits.advance(kept):
            return True
        elif not columns.done:
            columns.advance_tokens()
        return False

    def left(self, kept: Tensor, annotations: Annotations) -> bool:
        """Whether there is more to do for the circuit `kept`."""
        done = self._numbers.done and self._snapshots.done and self._columns.done and self._explanations.done(kept)
        done = done and self._groups.done(kept, annotations) and self._edges.done() and self._searches.done
        return not done or self._audits.under_way(kept)
