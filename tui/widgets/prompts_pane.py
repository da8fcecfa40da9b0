"""The prompts pane: the list of test prompts, and below it why the chosen one is answered as it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.latents.views import Explanation
from circuit_tui.core.views import NodeTable, PromptsView, PromptView
from circuit_tui.tui.drawing.line import SINK, StyledLine, cut, plain, printable, spaced
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.drawing.styles import PaneStyles
from circuit_tui.tui.widgets.lines_view import LinesView
from circuit_tui.tui.widgets.list_heading import ListHeading
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompt_nodes import PromptNodes

BESIDE = 140  # from so many cells on, the chosen prompt is beside the list


class ChosenPrompt(LinesView):
    """The chosen prompt and its corrupt one, above the list of nodes; tokens are shaded by what they contribute."""

    def __init__(self) -> None:
        super().__init__(id="chosen-prompt")
        self._view: PromptView | None = None
        self._explanation: Explanation | None = None

    def show(self, view: PromptView | None, explanation: Explanation | None) -> None:
        """Show `view`, with the explanation of the same prompt as far as it is known."""
        if view is not self._view or explanation is not self._explanation:
            self._view, self._explanation = view, explanation
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        pane_styles, view, explanation = self.pane_styles, self._view, self._explanation
        if view is None:
            line = StyledLine().add(" enter", pane_styles.key)
            return [line.add(" on a prompt says why it is answered so", pane_styles.muted).strip()]
        row = view.row
        head = StyledLine().add(f" prompt {row.index}", pane_styles.title)
        head.add(f"  {printable(row.answer).strip()}", pane_styles.good).add(" over ", pane_styles.muted).add(
            printable(row.wrong).strip(), pane_styles.bad
        )
        head.add(f"  M {signed(row.plain, 2)}  M_s {signed(row.spliced, 2)}  circuit ", pane_styles.muted)
        head.add(signed(row.circuit, 2), pane_styles.strong)
        if explanation is not None and explanation.clean.n_done != len(explanation.clean.nodes):
            head.add(f"  {explanation.clean.n_done} of {len(explanation.clean.nodes)} nodes …", pane_styles.muted)
        if explanation is None:
            none = (None,) * len(view.tokens)
            return [head.strip(), _shaded_tokens(" ", view.tokens, none, width, pane_styles, view.sinks)]
        clean, corrupt = explanation.clean, explanation.corrupt
        of_clean = _shaded_tokens(" clean   ", clean.tokens, clean.by_token, width, pane_styles, view.sinks)
        lines = [head.strip(), of_clean]
        if corrupt is not None:
            name = f" corrupt {signed(corrupt.logit_diff, 2)} "
            lines.append(_shaded_tokens(name, corrupt.tokens, corrupt.by_token, width, pane_styles))
        else:
            lines.append(StyledLine().add(cut(f" corrupt {explanation.corrupt_error or '…'}", width)).strip())
        return lines


def _add_sinks_legend(line: StyledLine, sinks: Mapping[int, tuple[str, ...]], room: int, muted: Style) -> None:
    """Adds what the mark of attention sinks means and at which sites they are, where it fits into `room` cells."""
    sites = ", ".join(dict.fromkeys(site for token in sorted(sinks) for site in sinks[token]))
    for legend in (f"   {SINK} attention sink at {sites}", f"   {SINK} sink: {sites}"):
        if sinks and cell_len(legend) <= room:
            line.add(legend, muted)
            return


def _shaded_tokens(
    name: str,
    tokens: tuple[str, ...],
    values: tuple[float | None, ...],
    width: int,
    pane_styles: PaneStyles,
    sinks: Mapping[int, tuple[str, ...]] = MappingProxyType({}),
) -> Strip:
    """One line of tokens: the more a token speaks for the right answer, the brighter; what speaks against it is red.

    Those with the indices `sinks` are marked, and the sites named at which they are attention sinks.
    """
    line, largest = StyledLine().add(name, pane_styles.muted), max((abs(value or 0.0) for value in values), default=0.0)
    shown = spaced(tokens)
    skipped = 0
    while line.width + sum(map(cell_len, shown[skipped:])) + len(sinks) > width - 2 and skipped < len(shown) - 1:
        skipped += 1  # the end of a prompt, where it is answered, is never cut off
    line.add("…" if skipped else "", pane_styles.muted)
    for index, (token, value) in enumerate(zip(shown[skipped:], values[skipped:], strict=True), skipped):
        bare = token.lstrip(" ")
        line.add(token[: len(token) - len(bare)])
        if value is None or not largest:
            line.add(bare)
        else:
            line.add(bare, pane_styles.bad if value < -0.0005 else pane_styles.shade(value / largest))
        line.add(SINK if index in sinks else "", pane_styles.warn)
    _add_sinks_legend(line, sinks, width - line.width, pane_styles.muted)
    return line.strip()


class PromptsPane(Vertical):
    """The two lists with their headings."""

    def __init__(self) -> None:
        super().__init__(id="prompts", classes="pane")
        self.border_title = "Prompts"

    def compose(self) -> ComposeResult:
        prompts = PromptList()
        with Vertical(classes="prompts-half"):
            yield ListHeading(prompts, id="prompt-heading")
            yield prompts
        with Vertical(id="prompt-detail", classes="prompts-half"):
            nodes = PromptNodes()
            yield ChosenPrompt()
            yield ListHeading(nodes, id="nodes-heading")
            yield nodes

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= BESIDE, "-beside")

    def show(
        self,
        prompts: PromptsView | None,
        prompt: PromptView | None,
        explanation: Explanation | None,
        table: NodeTable | None,
        said: Annotations | None,
    ) -> None:
        """Show the test prompts, the chosen one and why it is answered as it is."""
        if prompt is None or (explanation is not None and explanation.prompt != prompt.row.index):
            explanation = None  # it is of the prompt that was chosen before
        self.query_one(PromptList).show(prompts)
        self.query_one("#prompt-heading", ListHeading).rebuild()
        nodes, nodes_heading = self.query_one(PromptNodes), self.query_one("#nodes-heading", ListHeading)
        nodes.display = nodes_heading.display = prompt is not None
        self.query_one("#prompt-detail").set_class(prompt is None, "-none")  # then the list has the room
        self.query_one(ChosenPrompt).show(prompt, explanation)
        nodes.show(prompt, explanation, table, said)
        nodes_heading.rebuild()
        if prompts:
            wrong = sum(row.circuit <= 0 for row in prompts.rows)
            self.border_subtitle = plain(f"{len(prompts.rows)} test prompts, {wrong} answered wrong")
