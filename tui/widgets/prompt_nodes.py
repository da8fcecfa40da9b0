"""The kept nodes on the chosen prompt: what each contributes to its answer, clean and corrupt, and where it fires."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.strip import Strip

from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.latents.views import Contributions, Explanation
from circuit_tui.core.views import NodeTable, PromptView
from circuit_tui.tui.drawing.chart import bar
from circuit_tui.tui.drawing.line import StyledLine, printable, token_text, widest
from circuit_tui.tui.drawing.number_text import compact, signed
from circuit_tui.tui.engine.messages import NodeChosen
from circuit_tui.tui.widgets.line_list import LineList

BAR, TOKEN, ACTIVATION, CONTRIBUTION = 8, 11, 8, 8  # cells


def contributions_of(side: Contributions | None) -> dict[int, float]:
    """The contributions that are computed, by node."""
    if side is None:
        return {}
    return {node: value for node, value in zip(side.nodes, side.values, strict=True) if value is not None}


class PromptNodes(LineList):
    """The kept nodes, the one that contributes most first; those not computed yet come last, by their activation.

    Enter shows a node in the circuit pane.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]

    def __init__(self) -> None:
        super().__init__(id="prompt-nodes")
        self.view: PromptView | None = None
        self.explanation: Explanation | None = None
        self.nodes: list[int] = []
        self._table: NodeTable | None = None
        self._said = Annotations()
        self._clean: dict[int, float] = {}
        self._corrupt: dict[int, float] = {}
        self._fires: dict[int, tuple[str, float]] = {}

    def show(
        self,
        view: PromptView | None,
        explanation: Explanation | None,
        table: NodeTable | None,
        said: Annotations | None,
    ) -> None:
        """Show the nodes of a prompt. `explanation` is of the same prompt, and may still be filling in."""
        if said is not None and said is not self._said:
            self._said = said
            self.refresh()
        if view is self.view and explanation is self.explanation:
            return
        fresh = not (view and self.view and view.row.index == self.view.row.index)
        current = self.nodes[self.cursor] if self.cursor < len(self.nodes) else None
        self.view, self.explanation, self._table = view, explanation, table
        self._fires = {node: (token, value) for node, token, value in view.active} if view else {}
        self._clean = contributions_of(explanation.clean if explanation else None)
        self._corrupt = contributions_of(explanation.corrupt if explanation else None)
        nodes = explanation.clean.nodes if explanation else tuple(self._fires)
        self.nodes = sorted(nodes, key=self._rank)
        at = 0 if fresh or current not in self.nodes or not self.cursor else self.nodes.index(current)
        self.set_length(len(self.nodes), at)

    def _rank(self, node: int) -> tuple[bool, float]:
        known = self._clean.get(node)
        return known is None, -abs(self._fires.get(node, ("", 0.0))[1] if known is None else known)

    def chosen(self) -> None:
        if self.cursor < len(self.nodes):
            self.post_message(NodeChosen(self.nodes[self.cursor]))

    def empty_lines(self, width: int) -> list[Strip]:
        return [StyledLine().add("  The circuit is empty.", self.pane_styles.muted).strip()]

    def heading(self, width: int) -> Strip:
        """The line above the list: the names of the columns."""
        head, table = self.pane_styles.head, self._table
        line = StyledLine().left("  node", self._name_width(), head)
        line.left("position", self._position_width(width), head)
        line.left("fires at", TOKEN, head).right("by", ACTIVATION - 1, head).add("  ")
        line.left("label" if table else "", self._label_width(width), head)
        for name in ("clean", "corrupt"):
            line.right(name, CONTRIBUTION, head)
        return line.strip()

    def _name_width(self) -> int:
        return 2 + widest((site.short for site in self._table.sites) if self._table else (), 4) + 7

    def _position_width(self, width: int) -> int:
        return 10 if width < 90 else 13

    def _label_width(self, width: int) -> int:
        used = self._name_width() + self._position_width(width) + TOKEN + ACTIVATION + 1 + 2 * CONTRIBUTION + BAR + 2
        return max(0, width - used)

    def line(self, index: int, width: int) -> Strip:
        assert self._table is not None
        node, table, pane_styles = self.nodes[index], self._table, self.pane_styles
        token, activation = self._fires.get(node, ("", 0.0))
        line = StyledLine().add("  ").add(table.sites[table.site[node]].short, pane_styles.title)
        line.right(str(table.latent[node]), self._name_width() - line.width - 1, pane_styles.strong).add(" ")
        line.left(table.positions[table.position[node]], self._position_width(width) - 1).add(" ")
        line.left(token_text(token), TOKEN, pane_styles.curves[1])
        line.right(compact(activation) if token else "", ACTIVATION - 1, pane_styles.muted).add("  ")
        label = self._said.label(table.site[node], table.latent[node]) or table.label[node]
        line.left(printable(label), self._label_width(width), pane_styles.muted)
        clean, corrupt = self._clean.get(node), self._corrupt.get(node)
        line.right(signed(clean, 2, "…"), CONTRIBUTION, pane_styles.change(clean))
        waiting = "" if self.explanation is None or self.explanation.corrupt_error else "…"
        line.right(signed(corrupt, 2, waiting), CONTRIBUTION, pane_styles.muted)
        largest = max(map(abs, self._clean.values()), default=0.0)
        if clean is not None and largest:
            line.add(" ").add(bar(abs(clean) / largest, BAR), pane_styles.change(clean))
        return line.strip()
