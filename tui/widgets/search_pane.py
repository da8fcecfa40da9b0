"""The search pane: the progress above, the form on the left, the charts or the result on the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from circuit_tui.core.search.registry import MethodInfo
from circuit_tui.core.views import SiteInfo
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.widgets.search_form import SearchForm
from circuit_tui.tui.widgets.search_progress import SearchProgressLine
from circuit_tui.tui.widgets.search_report import SearchReport


class SearchPane(Vertical):
    """The progress line, the form and the report. The arguments are what the form starts with."""

    def __init__(self, method: str, target: float, seed: int) -> None:
        super().__init__(id="search", classes="pane")
        self.border_title = "Search"
        self._start = (method, target, seed)

    def compose(self) -> ComposeResult:
        yield SearchProgressLine(id="search-progress")
        with Horizontal(id="search-body"):
            yield SearchForm(*self._start)
            yield SearchReport()

    @property
    def form(self) -> SearchForm:
        """The form on the left."""
        return self.query_one(SearchForm)

    def set_methods(self, methods: tuple[MethodInfo, ...]) -> None:
        """Offer these methods."""
        self.form.set_methods(methods)

    def show(self, search: SearchState, sites: tuple[SiteInfo, ...]) -> None:
        """Show `search`."""
        self.query_one(SearchProgressLine).show(search)
        self.query_one(SearchReport).show(search, sites)
        self.form.show_live(search.live, search.phase == "paused")

    def flip(self) -> None:
        """Switch between the charts and the result."""
        self.query_one(SearchReport).flip()
