"""How two circuits differ: their numbers side by side, what they were measured in, the nodes that only one has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip
from typing_extensions import override

from circuit_tui.tui.drawing.line import StyledLine, cut, cut_middle, printable, side_by_side
from circuit_tui.tui.drawing.number_text import count, fixed, percent, signed
from circuit_tui.tui.widgets.lines_view import ScrollingLines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tui.core.circuits.compare_circuits import CircuitComparison, NodeName

NAMES = {
    "faithfulness": "faithfulness",
    "faithfulness_spliced": "vs M_s",
    "completeness": "completeness",
    "kl": "KL nats",
    "accuracy": "accuracy",
    "logit_diff": "logit difference",
}
LABEL, SIDE, CHANGE = 18, 22, 9  # cells


class CircuitDifference(ScrollingLines):
    """Draws one comparison; not seen before there is one."""

    def __init__(self) -> None:
        super().__init__(id="circuit-difference")
        self.display = False
        self._found: CircuitComparison | None = None

    def show(self, found: CircuitComparison) -> None:
        """Show `found`."""
        self._found, self.display = found, True
        self.scroll_to(y=0, animate=False)
        self.rebuild()

    @override
    def build(self, width: int) -> list[Strip]:
        found, styles = self._found, self.pane_styles
        if found is None:
            return []
        first, second = found.first, found.second
        head = StyledLine().left("", LABEL)
        for side in (first, second):
            head.right(cut_middle(printable(side.name), SIDE - 2), SIDE, styles.head)
        lines = [head.right("change", CHANGE, styles.head).strip()]
        for what, one_text, other_text in found.differences:
            said = f" not the same {what}: {one_text[:40]} and {other_text[:40]}; the numbers are of different things"
            lines.append(StyledLine().add(cut(printable(said), width - 1), styles.warn).strip())
        row = StyledLine().left(" nodes", LABEL)
        for side in (first, second):
            row.right(count(len(side.nodes)), SIDE, styles.strong)
        lines.append(row.right(f"{len(second.nodes) - len(first.nodes):+,}", CHANGE, styles.muted).strip())
        share = f" {count(len(found.both))} nodes in both: {percent(found.overlap)} of all nodes"
        lines.append(StyledLine().add(f"{share}, {percent(found.latent_overlap)} of all latents").strip())
        for field, name in NAMES.items():
            one, other = first.numbers[field], second.numbers[field]
            row = StyledLine().left(f" {name}", LABEL).right(fixed(one), SIDE).right(fixed(other), SIDE)
            change = None if one is None or other is None else other - one
            lines.append(row.right(signed(change), CHANGE, styles.muted).strip())
        half = (width - 3) // 2
        ours = self._node_list(f"only in {first.name}", found.only_first, half)
        theirs = self._node_list(f"only in {second.name}", found.only_second, half)
        return [*lines, Strip.blank(1), *side_by_side([(ours, half), (theirs, half)], 2)]

    def _node_list(self, title: str, nodes: Sequence[NodeName], width: int) -> list[Strip]:
        styles = self.pane_styles
        head = StyledLine().add(f" {cut_middle(printable(title), width - 8)}", styles.title)
        lines = [head.add(f"  {count(len(nodes))}", styles.muted).strip()]
        for hook, position, latent in nodes:
            line = StyledLine().right(str(latent), 7).add(f" @{printable(position)}")
            lines.append(line.add(cut(f"  {hook}", max(0, width - line.width - 1)), styles.muted).strip())
        return lines
