"""The panes and where they are.

On a large screen the circuit and the latent are side by side, and one of the others is below them; the names of the
others are tabs. On a screen that is wide but low there is either the pair above or one of the others, on a small one
a single pane.
"""

from __future__ import annotations

from typing import Literal

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from circuit_tui.core.views import SiteInfo
from circuit_tui.tui.actions import PANES
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screen_settings import DEFAULT_SPLIT
from circuit_tui.tui.widgets.attribution_list import AttributionList
from circuit_tui.tui.widgets.audit_pane import AuditPane, AuditTable
from circuit_tui.tui.widgets.circuit_pane import CircuitPane
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.circuits_pane import CircuitFiles, CircuitsPane
from circuit_tui.tui.widgets.edges_pane import EdgeList, EdgesPane
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompts_pane import PromptsPane
from circuit_tui.tui.widgets.search_pane import SearchPane
from circuit_tui.tui.widgets.search_progress import SearchProgressLine
from circuit_tui.tui.widgets.search_report import SearchReport
from circuit_tui.tui.widgets.try_pane import TryPane

Arrangement = Literal["one", "pair", "all"]
PAIR = ("circuit", "latent")
HOMES: dict[str, type[Widget]] = {
    "circuit": CircuitTable,
    "latent": LatentPane,
    "prompts": PromptList,
    "search": SearchReport,
    "frontier": FrontierPane,
    "audit": AuditTable,
    "edges": EdgeList,
    "try": AttributionList,
    "circuits": CircuitFiles,
}
LEAST_SHARE, MOST_SHARE = 25, 75  # percent of the width or height that a moved split leaves to each side


class Panes(Container):
    """All panes.

    Attributes:
        current: the name of the pane that was chosen last.
        arrangement: how many are on the screen: ``one``, the ``pair`` or one of the others, or ``all``, which is the
            pair above one of the others.
        split: percent of the height that the pair has, and percent of the width that the circuit has of it.
    """

    class SplitMoved(Message):
        """The user has moved a split."""

    def __init__(self, options: ExplorerOptions) -> None:
        super().__init__(id="body")
        self.circuit, self.latent, self.prompts = CircuitPane(), LatentPane(), PromptsPane()
        self.search = SearchPane(options.method, options.target, options.seed)
        self.frontier, self.audit, self.edges = FrontierPane(), AuditPane(), EdgesPane()
        self.trial, self.circuits = TryPane(), CircuitsPane()
        self.search_line = SearchProgressLine(id="search-line")
        self.current = PAIR[0]
        self.arrangement: Arrangement = "one"
        self.split = DEFAULT_SPLIT
        self._tab = self._tab_before = "prompts"
        self._dragged: Literal["", "height", "width"] = ""

    def compose(self) -> ComposeResult:
        with Horizontal(id="upper"):
            yield self.circuit
            yield self.latent
        yield self.search_line
        with Container(id="lower"):
            yield self.prompts
            yield self.search
            yield self.frontier
            yield self.audit
            yield self.edges
            yield self.trial
            yield self.circuits

    def on_mount(self) -> None:
        for name in PAIR:
            self._pane(name).border_title = Content(f"{PANES[name]} {name.capitalize()}")
        self.move_split(0, 0)

    def _pane(self, name: str) -> Widget:
        return self.query_one(f"#{name}")

    def show(self, name: str) -> None:
        """Make pane `name` the current one."""
        self.current = name
        if name not in PAIR:
            self._tab = name
        self._lay_out()

    def lay_out(self, arrangement: Arrangement) -> None:
        """Show as many panes as `arrangement` says."""
        self.arrangement = arrangement
        self._lay_out()

    def _lay_out(self) -> None:
        for kind in ("one", "pair", "all"):
            self.set_class(self.arrangement == kind, f"-{kind}")
        self.query_one("#upper").display = self.arrangement == "all" or self.current in PAIR
        self.query_one("#lower").display = self.arrangement == "all" or self.current not in PAIR
        for name in PANES:
            self._pane(name).display = self.visible_pane(name)
        self._name_tabs()
        self._show_search_line()

    def _name_tabs(self) -> None:
        title = Content(" · ").join(
            Content(f"{PANES[name]} {name.capitalize()}").stylize(
                Style.from_meta({"@click": f"screen.pane('{name}')"}) + Style(bold=name == self._tab)
            )
            for name in PANES
            if name not in PAIR
        )
        self._pane(self._tab).border_title = title

    def visible_pane(self, name: str) -> bool:
        """Whether pane `name` is on the screen."""
        if self.arrangement == "all":
            return name in PAIR or name == self._tab
        return name == self.current or (self.arrangement == "pair" and name in PAIR and self.current in PAIR)

    def home(self, name: str) -> Widget:
        """The widget that takes the focus when pane `name` is chosen."""
        return self.edges.home if name == "edges" else self.query_one(HOMES[name])

    # The search: a tab while it runs, a line when it is done

    def show_search(self, search: SearchState, sites: tuple[SiteInfo, ...]) -> None:
        """Show `search` in its pane and in its line."""
        self.search.show(search, sites)
        self.search_line.show(search)
        if not search.live:
            self._lower_search()
        self._show_search_line()

    def raise_search(self) -> None:
        """Show the search pane below the pair; the current pane stays the current one."""
        if self._tab != "search":
            self._tab_before, self._tab = self._tab, "search"
            self._lay_out()

    def _lower_search(self) -> None:
        """Show the tab that `raise_search` hid, unless the user has gone to the search pane since."""
        if self._tab == "search" and self.current in PAIR:
            self._tab = self._tab_before
            self._lay_out()

    def _show_search_line(self) -> None:
        seen = self.arrangement == "all" and self._tab != "search" and self.search_line.begun
        self.search_line.display = seen

    # Splits

    def move_split(self, height: int, width: int) -> None:
        """Give the pair so many percent more of the height, and the circuit of the width."""
        shares = [max(LEAST_SHARE, min(MOST_SHARE, a + b)) for a, b in zip(self.split, (height, width), strict=True)]
        self.split = (shares[0], shares[1])
        self.query_one("#upper").styles.height = f"{shares[0]}fr"
        self.query_one("#lower").styles.height = f"{100 - shares[0]}fr"
        self.circuit.styles.width = f"{shares[1]}fr"
        self.latent.styles.width = f"{100 - shares[1]}fr"

    def on_mouse_down(self, event: events.MouseDown) -> None:
        upper, circuit = self.query_one("#upper").region, self.circuit.region
        if self.arrangement == "all" and event.screen_y == upper.bottom - 1:
            self._dragged = "height"
        elif self.arrangement != "one" and upper.contains(event.screen_x, event.screen_y):
            self._dragged = "width" if event.screen_x in (circuit.right - 1, circuit.right) else ""
        if self._dragged:
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged == "height":
            share = round(100 * (event.screen_y + 1 - self.region.y) / max(1, self.region.height))
            self.move_split(share - self.split[0], 0)
        elif self._dragged == "width":
            share = round(100 * (event.screen_x + 1 - self.region.x) / max(1, self.region.width))
            self.move_split(0, share - self.split[1])

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragged:
            self._dragged = ""
            self.release_mouse()
            self.post_message(self.SplitMoved())
