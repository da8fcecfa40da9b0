"""Where the panes are: one at a time on a small screen, on a large one side by side; and how the focus moves."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widget import Widget

from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screens.frame import FrameScreen
from circuit_tui.tui.widgets.audit_pane import AuditPane
from circuit_tui.tui.widgets.circuit_pane import CircuitPane
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.key_footer import KeyFooter
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.pane_tabs import PANES, PaneTabs
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompts_pane import PromptsPane
from circuit_tui.tui.widgets.search_pane import SearchPane
from circuit_tui.tui.widgets.search_report import SearchReport

RIGHT = ("latent", "prompts", "frontier", "audit")
STACK = ("prompts", "frontier", "audit")  # a large screen shows the one of these that was chosen last


class PaneScreen(FrameScreen):
    """Composes the panes and decides which panes are on it."""

    AUTO_FOCUS = "#circuit-table"

    def __init__(self, options: ExplorerOptions) -> None:
        super().__init__()
        self._start_with = (options.method, options.target, options.seed)
        self._out = options.out
        self._pane = "circuit"
        self._top = STACK[0]

    def compose_body(self) -> ComposeResult:
        with Container(id="body"):
            with Vertical(id="left", classes="column"):
                yield CircuitPane()
                yield SearchPane(*self._start_with)
            with Vertical(id="right", classes="column"):
                yield LatentPane()
                yield PromptsPane()
                yield FrontierPane()
                yield AuditPane()

    def on_mount(self) -> None:
        for pane in STACK:
            others = [f"{PANES.index(other) + 1} {other.capitalize()}" for other in STACK if other != pane]
            self.query_one(f"#{pane}").border_title = " · ".join((pane.capitalize(), *others))

    def _place(self) -> None:
        super()._place()
        self._show_pane(self._pane)

    def _show_pane(self, name: str) -> None:
        self._pane = name
        if name in STACK:
            self._top = name
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "-current")
        for pane in STACK:
            self.query_one(f"#{pane}").set_class(pane != self._top, "-under")
        self.query_one("#left").set_class(name not in RIGHT, "-current")
        self.query_one("#right").set_class(name in RIGHT, "-current")
        self.query_one(KeyFooter).show(name)
        self._show_tabs()
        self.panes_changed()

    def panes_changed(self) -> None:
        """Called when other panes may have come on the screen."""

    def _show_tabs(self) -> None:
        note = self.query_one(CircuitPane).summary() if self._pane == "circuit" else ""
        self.query_one(PaneTabs).show(self._pane, note)

    def _visible(self, pane: str) -> bool:
        return self._pane == pane or (self._wide and (pane not in STACK or pane == self._top))

    def _home(self, pane: str) -> Widget:
        """Where the focus goes when a pane is chosen."""
        homes: dict[str, type[Widget]] = {
            "circuit": CircuitTable,
            "latent": LatentPane,
            "prompts": PromptList,
            "search": SearchReport,
            "frontier": FrontierPane,
            "audit": AuditPane,
        }
        return self.query_one(homes[pane])

    def action_pane(self, name: str) -> None:
        self._show_pane(name)
        self.call_after_refresh(self._home(name).focus)

    def on_pane_tabs_chosen(self, event: PaneTabs.Chosen) -> None:
        self.action_pane(event.pane)

    def action_next(self, step: int) -> None:
        chain = self.focus_chain
        at = chain.index(self.focused) + step if self.focused in chain else 0
        if 0 <= at < len(chain):
            chain[at].focus()
        elif self._wide:
            chain[at % len(chain)].focus()
        else:
            self.action_pane(PANES[(PANES.index(self._pane) + step) % len(PANES)])

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for widget in event.widget.ancestors_with_self:
            if widget.id in PANES and widget.id != self._pane:
                self._show_pane(widget.id)
