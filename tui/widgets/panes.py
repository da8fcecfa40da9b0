"""The panes and where they are: one at a time on a small screen, side by side on a large one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widget import Widget

from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.widgets.audit_pane import AuditPane
from circuit_tui.tui.widgets.circuit_pane import CircuitPane
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.pane_tabs import PANES
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompts_pane import PromptsPane
from circuit_tui.tui.widgets.search_pane import SearchPane
from circuit_tui.tui.widgets.search_report import SearchReport

RIGHT = ("latent", "prompts", "frontier", "audit")
STACK = ("prompts", "frontier", "audit")  # a large screen shows the one of these that was chosen last
HOMES: dict[str, type[Widget]] = {
    "circuit": CircuitTable,
    "latent": LatentPane,
    "prompts": PromptList,
    "search": SearchReport,
    "frontier": FrontierPane,
    "audit": AuditPane,
}


class Panes(Container):
    """All panes in two columns.

    Attributes:
        current: the name of the pane that was chosen last; on a small screen only this one is visible.
        wide: whether the screen is large enough for two columns.
    """

    def __init__(self, options: ExplorerOptions) -> None:
        super().__init__(id="body")
        self.circuit, self.latent, self.prompts = CircuitPane(), LatentPane(), PromptsPane()
        self.search = SearchPane(options.method, options.target, options.seed)
        self.frontier, self.audit = FrontierPane(), AuditPane()
        self.current = PANES[0]
        self.wide = False
        self._top = STACK[0]

    def compose(self) -> ComposeResult:
        with Vertical(id="left", classes="column"):
            yield self.circuit
            yield self.search
        with Vertical(id="right", classes="column"):
            yield self.latent
            yield self.prompts
            yield self.frontier
            yield self.audit

    def on_mount(self) -> None:
        for name in STACK:
            others = [f"{PANES.index(other) + 1} {other.capitalize()}" for other in STACK if other != name]
            self._pane(name).border_title = " · ".join((name.capitalize(), *others))

    def _pane(self, name: str) -> Widget:
        return self.query_one(f"#{name}")

    def show(self, name: str) -> None:
        """Make pane `name` the current one."""
        self.current = name
        if name in STACK:
            self._top = name
        for pane in PANES:
            self._pane(pane).set_class(pane == name, "-current")
        for pane in STACK:
            self._pane(pane).set_class(pane != self._top, "-under")
        self.query_one("#left").set_class(name not in RIGHT, "-current")
        self.query_one("#right").set_class(name in RIGHT, "-current")

    def visible_pane(self, name: str) -> bool:
        """Whether pane `name` is on the screen."""
        return self.current == name or (self.wide and (name not in STACK or name == self._top))

    def home(self, name: str) -> Widget:
        """The widget that takes the focus when pane `name` is chosen."""
        return self.query_one(HOMES[name])
