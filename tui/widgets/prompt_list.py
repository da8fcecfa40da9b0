"""Two lists: the test prompts, worst first, and the nodes that are active on one of them."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.strip import Strip

from circuit_tui.core.views import NodeTable, PromptRow, PromptsView, PromptView
from circuit_tui.tui.drawing.line import StyledLine, cut, printable, widest
from circuit_tui.tui.drawing.number_text import compact, signed
from circuit_tui.tui.drawing.styles import PaneStyles
from circuit_tui.tui.engine.messages import NodeChosen, PromptChosen
from circuit_tui.tui.widgets.line_list import LineList

NUMBER = 7


def prompt_heading(width: int, pane_styles: PaneStyles) -> Strip:
    """The line above the prompts: the names of the columns."""
    line = (
        StyledLine()
        .right("#", 4, pane_styles.head)
        .add("  ")
        .left("prompt (right / wrong answer)", width - 6 - 4 * NUMBER - 1, pane_styles.head)
    )
    for name in ("M", "M_s", "circ.", "off"):
        line.right(name, NUMBER, pane_styles.head)
    return line.strip()


class PromptList(LineList):
    """One line for each test prompt: the logit differences of M, M_s and the circuit, and the circuit's minus M's."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]  # in turn with the cursor's keys

    def __init__(self) -> None:
        super().__init__(id="prompt-list")
        self.view: PromptsView | None = None

    def show(self, view: PromptsView | None) -> None:
        """Show `view`; the cursor stays on its prompt."""
        if view is self.view:
            return
        current = self.current
        self.view = view
        rows = view.rows if view else ()
        if len(rows) == self._length and current is not None:
            # A cursor at the top stays there, on the worst prompt; elsewhere it follows its prompt.
            if self.cursor:
                self.move_cursor(next((i for i, row in enumerate(rows) if row.index == current.index), 0))
            self.refresh_changed()
        else:
            self.set_length(len(rows))

    @property
    def current(self) -> PromptRow | None:
        """The prompt under the cursor."""
        return self.view.rows[self.cursor] if self.view and self.cursor < len(self.view.rows) else None

    def action_choose(self) -> None:
        self.chosen()

    def chosen(self) -> None:
        if self.current is not None:
            self.post_message(PromptChosen(self.current.index))

    def line(self, index: int, width: int) -> Strip:
        assert self.view is not None
        row, pane_styles = self.view.rows[index], self.pane_styles
        off = row.circuit - row.plain
        line = StyledLine().right(str(row.index), 4, pane_styles.muted).add("  ")
        room = width - 6 - 4 * NUMBER - 1
        # Long answers must leave room for the prompt.
        right, wrong = (cut(printable(text).strip(), room // 3) for text in (row.answer, row.wrong))
        answers = f" {right}/{wrong}"
        line.left(printable(row.text), room - len(answers) - 1).add(answers, pane_styles.muted).pad_to(6 + room)
        line.right(signed(row.plain, 2), NUMBER).right(signed(row.spliced, 2), NUMBER, pane_styles.muted)
        # Only a wrong answer stands out: everything else is a matter of degree.
        line.right(signed(row.circuit, 2), NUMBER, pane_styles.bad if row.circuit <= 0 else pane_styles.strong)
        return (
            line.right(signed(off, 2), NUMBER, pane_styles.muted)
            .add(" ✗" if row.circuit <= 0 else "", pane_styles.bad)
            .strip()
        )


class ActiveNodes(LineList):
    """The kept nodes that fire on the chosen prompt, strongest first. Enter shows one in the circuit pane."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]

    def __init__(self) -> None:
        super().__init__(id="active-nodes")
        self.view: PromptView | None = None
        self.table: NodeTable | None = None

    def show(self, view: PromptView | None, table: NodeTable | None) -> None:
        """Show the nodes of `view`."""
        if view is not self.view:
            fresh = not (view and self.view and view.row.index == self.view.row.index)
            self.view, self.table = view, table
            self.set_length(len(view.active) if view else 0, 0 if fresh else None)

    def action_choose(self) -> None:
        self.chosen()

    def chosen(self) -> None:
        if self.view and self.cursor < len(self.view.active):
            self.post_message(NodeChosen(self.view.active[self.cursor][0]))

    def empty_lines(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        if self.view is None:
            return [
                StyledLine()
                .add("  enter", pane_styles.key)
                .add(" on a prompt shows which nodes are active on it", pane_styles.muted)
                .strip()
            ]
        return [StyledLine().add("  No kept node fires on this prompt.", pane_styles.muted).strip()]

    def line(self, index: int, width: int) -> Strip:
        assert self.view is not None
        assert self.table is not None
        node, token, activation = self.view.active[index]
        table, pane_styles = self.table, self.pane_styles
        sites = widest((site.short for site in table.sites), 4)
        line = StyledLine().add("  ").left(table.sites[table.site[node]].short, sites, pane_styles.title)
        line.right(str(table.latent[node]), 6, pane_styles.strong).add("  ").left(
            table.positions[table.position[node]], 13
        )
        line.left(printable(token).replace(" ", "␣"), 14, pane_styles.curves[1])
        line.left(printable(table.label[node]), max(0, width - line.width - 10), pane_styles.muted)
        return line.right(compact(activation), 9).strip()
