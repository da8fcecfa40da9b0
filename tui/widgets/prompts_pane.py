"""The prompts pane: the list of test prompts, and below it the chosen prompt with its active nodes."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.core.views import NodeTable, PromptsView, PromptView
from circuit_tui.tui.drawing.line import StyledLine, cut, plain, printable, spaced, wrap
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.widgets.lines_view import LinesView
from circuit_tui.tui.widgets.prompt_list import ActiveNodes, PromptList

BESIDE = 140  # from so many cells on, the chosen prompt is beside the list


class PromptHeading(LinesView):
    """The names of the columns of `prompts`."""

    def __init__(self, prompts: PromptList) -> None:
        super().__init__(id="prompt-heading")
        self._prompts = prompts

    def build(self, width: int) -> list[Strip]:
        return [self._prompts.heading(width)]


class ChosenPrompt(LinesView):
    """The text of the chosen prompt, above the list of its active nodes."""

    def __init__(self) -> None:
        super().__init__(id="chosen-prompt")
        self._view: PromptView | None = None

    def show(self, view: PromptView | None) -> None:
        """Show `view`."""
        if view is not self._view:
            self._view = view
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        pane_styles, view = self.pane_styles, self._view
        if view is None:
            line = StyledLine().add(" enter", pane_styles.key)
            return [line.add(" on a prompt shows which nodes are active on it", pane_styles.muted).strip()]
        row = view.row
        head = StyledLine().add(f" prompt {row.index}", pane_styles.title)
        head.add(f"  {printable(row.answer).strip()}", pane_styles.good).add(" over ", pane_styles.muted).add(
            printable(row.wrong).strip(), pane_styles.bad
        )
        head.add(f"  M {signed(row.plain, 2)}  M_s {signed(row.spliced, 2)}  circuit ", pane_styles.muted)
        head.add(signed(row.circuit, 2), pane_styles.strong)
        text = "".join(spaced(view.tokens))
        lines = wrap(text, width - 2)[:2]
        if len(wrap(text, width - 2)) > 2:
            lines[1] = cut(lines[1] + " …", width - 2)
        return [head.strip(), *(StyledLine().add(" ").add(line).strip() for line in lines)]


class PromptsPane(Vertical):
    """The two lists with their headings."""

    def __init__(self) -> None:
        super().__init__(id="prompts", classes="pane")
        self.border_title = "Prompts"

    def compose(self) -> ComposeResult:
        prompts = PromptList()
        with Vertical(classes="prompts-half"):
            yield PromptHeading(prompts)
            yield prompts
        with Vertical(id="prompt-detail", classes="prompts-half"):
            yield ChosenPrompt()
            yield ActiveNodes()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= BESIDE, "-beside")

    def show(self, prompts: PromptsView | None, prompt: PromptView | None, table: NodeTable | None) -> None:
        """Show the test prompts and the chosen one."""
        self.query_one(PromptList).show(prompts)
        self.query_one(PromptHeading).rebuild()
        self.query_one(ActiveNodes).display = prompt is not None
        self.query_one("#prompt-detail").set_class(prompt is None, "-none")  # then the list has the room
        self.query_one(ChosenPrompt).show(prompt)
        self.query_one(ActiveNodes).show(prompt, table)
        if prompts:
            wrong = sum(row.circuit <= 0 for row in prompts.rows)
            self.border_subtitle = plain(f"{len(prompts.rows)} test prompts, {wrong} answered wrong")
