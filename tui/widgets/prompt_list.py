"""The list of test prompts, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.strip import Strip

from circuit_tui.core.views import PromptRow, PromptsView
from circuit_tui.tui.drawing.line import StyledLine, cut, cut_middle, printable, widest
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.engine.messages import PromptChosen
from circuit_tui.tui.widgets.line_list import LineList

INDEX, NUMBER, MARK = 6, 7, 2  # cells of the prompt's index, of each number, of the mark of a wrong answer
NUMBERS = ("M", "M_s", "circ.", "circ−M")
LEAST_TEXT = 12


def text_widths(rows: Sequence[PromptRow], width: int) -> tuple[int, int]:
    """The cells for the prompts and for the answers: long answers leave two thirds to the prompts."""
    room = width - INDEX - NUMBER * len(NUMBERS) - MARK
    answers = widest((_answers(row) for row in rows), LEAST_TEXT - 1) + 1
    answers = min(answers, max(LEAST_TEXT, room // 3))
    return room - answers, answers


def _answers(row: PromptRow, width: int | None = None) -> str:
    """The right and the wrong answer; in at most `width` cells, each is cut to its half."""
    right, wrong = (printable(text.strip()) for text in (row.answer, row.wrong))
    if width is not None and cell_len(f"{right}/{wrong}") > width:
        right, wrong = (cut(text, (width - 1) // 2) for text in (right, wrong))
    return f"{right}/{wrong}"


class PromptList(LineList):
    """One line for each test prompt: the logit differences of M, M_s and the circuit, and the circuit's minus M's."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]  # in turn with the cursor's keys

    def __init__(self) -> None:
        super().__init__(id="prompt-list")
        self.view: PromptsView | None = None
        self._widths: tuple[PromptsView | None, int, tuple[int, int]] | None = None

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

    def chosen(self) -> None:
        if self.current is not None:
            self.post_message(PromptChosen(self.current.index))

    def line(self, index: int, width: int) -> Strip:
        assert self.view is not None
        row, pane_styles = self.view.rows[index], self.pane_styles
        text, answers = self._text_widths(width)
        wrong = row.circuit <= 0
        line = StyledLine().right(str(row.index), INDEX - 2, pane_styles.muted).add("  ")
        line.left(cut_middle(printable(row.text), text - 1), text)
        line.left(_answers(row, answers - 1), answers, pane_styles.muted)
        line.right(signed(row.plain, 2), NUMBER).right(signed(row.spliced, 2), NUMBER, pane_styles.muted)
        # Only a wrong answer stands out: everything else is a matter of degree.
        line.right(signed(row.circuit, 2), NUMBER, pane_styles.bad if wrong else pane_styles.strong)
        line.right(signed(row.circuit - row.plain, 2), NUMBER, pane_styles.muted)
        return line.add(" ✗" if wrong else "", pane_styles.bad).strip()

    def heading(self, width: int) -> Strip:
        """The line above the list: the names of the columns."""
        head = self.pane_styles.head
        text, answers = self._text_widths(width)
        line = StyledLine().right("#", INDEX - 2, head).add("  ").left("prompt", text, head)
        line.left("right/wrong", answers, head)
        for name in NUMBERS:
            line.right(name, NUMBER, head)
        return line.strip()

    def _text_widths(self, width: int) -> tuple[int, int]:
        view = self.view
        if self._widths is None or self._widths[0] is not view or self._widths[1] != width:
            self._widths = (view, width, text_widths(view.rows if view else (), width))
        return self._widths[2]
