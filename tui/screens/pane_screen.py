"""The screen with the panes: which of them are seen, where they are, and which one has the focus."""

from __future__ import annotations

from dataclasses import replace

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget

from circuit_tui.tui.actions import PANES
from circuit_tui.tui.circuit_columns import COLUMNS, Column
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.explorer_protocol import Explorer
from circuit_tui.tui.screens.choose_columns import ChooseColumns
from circuit_tui.tui.screens.frame import TALL, WIDE, FrameScreen
from circuit_tui.tui.screens.presenter import Presenter
from circuit_tui.tui.widgets.key_footer import KeyFooter
from circuit_tui.tui.widgets.pane_tabs import PaneTabs
from circuit_tui.tui.widgets.panes import Arrangement, Panes

SPLIT_STEP = 4  # percent of the width or height


class PaneScreen(FrameScreen):
    """Arranges the `panes`, which the `presenter` fills, and remembers how the user likes them."""

    def __init__(self, explorer: Explorer, options: ExplorerOptions) -> None:
        super().__init__(explorer)
        self.panes = Panes(options)
        self.presenter = Presenter(self, self.panes, explorer.engine, lambda: explorer.bytes_written())
        self._zoomed = False
        self.panes.split = explorer.screen_settings.split
        self.panes.circuit.table.hide(self._hidden_columns())

    def compose_body(self) -> ComposeResult:
        yield self.panes

    def fit(self) -> None:
        super().fit()
        arrangement = "one" if self._zoomed else self._largest_arrangement
        self.panes.lay_out(arrangement)
        self.query_one(PaneTabs).display = arrangement != "all"
        self.show_pane(self.panes.current)

    @property
    def _largest_arrangement(self) -> Arrangement:
        """As many panes as there is room for."""
        size = self.app.size
        return "one" if size.width < WIDE else "pair" if size.height < TALL else "all"

    @property
    def shown(self) -> EngineState:
        """The engine's state that is on the screen."""
        return self.presenter.shown

    def ready(self) -> bool:
        """Whether a session is open; if it is still being opened, a notice says so."""
        if self.shown.phase == "loading":
            self.post_message(Notice("Still opening: this key works once that is done.", "warning"))
        return self.shown.phase == "ready"

    # Panes and focus

    def show_pane(self, name: str) -> None:
        """Make pane `name` the current one, without giving it the focus."""
        self.panes.show(name)
        self.panes_changed()

    def panes_changed(self) -> None:
        """Other panes may be seen or current now: bring them and the keys up to date."""
        self.query_one(KeyFooter).show(self.panes.current)
        self.presenter.panes_changed()

    def action_pane(self, name: str) -> None:
        if not self.panes.visible_pane(name):
            self.set_focus(None)  # or a neighbour of the hidden field gets the focus, and brings its own pane back
        self.show_pane(name)
        self.call_after_refresh(self.panes.home(name).focus)

    def on_pane_tabs_chosen(self, event: PaneTabs.Chosen) -> None:
        self.action_pane(event.pane)

    def action_next(self, step: int) -> None:
        chain = self._focus_order()
        if not chain:
            return  # still opening
        at = chain.index(self.focused) + step if self.focused in chain else 0
        if 0 <= at < len(chain):
            chain[at].focus()
        elif self.panes.arrangement == "all":
            chain[at % len(chain)].focus()
        else:
            names = list(PANES)
            self.action_pane(names[(names.index(self.panes.current) + step) % len(names)])

    def _focus_order(self) -> list[Widget]:
        """What can have the focus, in the order of the tab key: a pane's fields come after its home."""
        chain = list(self.focus_chain)
        for name in PANES:
            own = [widget for widget in chain if any(node.id == name for node in widget.ancestors_with_self)]
            if (home := self.panes.home(name)) in own:
                at = chain.index(own[0])
                chain.remove(home)
                chain.insert(at, home)
        return chain

    def action_zoom(self) -> None:
        if self._largest_arrangement == "one":
            self.post_message(Notice("Each pane has the whole screen already.", "warning"))
            return
        self._zoomed = not self._zoomed
        self.fit()
        self.call_after_refresh(self.panes.home(self.panes.current).focus)

    def action_split(self, height: int, width: int) -> None:
        if self.panes.arrangement == "one" or (height and self.panes.arrangement == "pair"):
            self.post_message(Notice("There is no split to move here.", "warning"))
            return
        self.panes.move_split(SPLIT_STEP * height, SPLIT_STEP * width)
        self.on_panes_split_moved()

    def on_panes_split_moved(self) -> None:
        self.explorer.remember(replace(self.explorer.screen_settings, split=self.panes.split))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for widget in event.widget.ancestors_with_self:
            if widget.id in PANES and widget.id != self.panes.current:
                self.show_pane(widget.id)

    # Columns

    def _hidden_columns(self) -> frozenset[Column]:
        chosen = self.explorer.screen_settings.columns
        return frozenset(column for column in COLUMNS if not chosen.get(column, True) and column != "latent")

    def action_columns(self) -> None:
        if not self.ready():
            return
        table = self.panes.circuit.table

        def choose(column: Column, shown: bool) -> None:
            settings = self.explorer.screen_settings
            self.explorer.remember(replace(settings, columns={**settings.columns, column: shown}))
            table.hide(self._hidden_columns())

        shown = set(COLUMNS) - table.hidden
        self.app.push_screen(ChooseColumns(shown, frozenset(table.seen_columns), choose))
