"""The search pane: the progress above, the form on the left, the charts or the result on the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.strip import Strip

from circuit_tui.core.search.registry import MethodInfo
from circuit_tui.core.views import SiteInfo
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.number_text import count, duration
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.widgets.lines_view import LinesView
from circuit_tui.tui.widgets.search_form import SearchForm
from circuit_tui.tui.widgets.search_report import SearchReport

STATUS = {
    "none": ("○", "no search yet"),
    "running": ("▶", "running"),
    "paused": ("‖", "paused"),
    "stopping": ("■", "stopping"),
    "done": ("●", "done"),
    "failed": ("✗", "failed"),
}


class SearchProgressLine(LinesView):
    """One line with the progress of the search and the time it takes."""

    def __init__(self) -> None:
        super().__init__(id="search-progress")
        self._search = SearchState()

    def show(self, search: SearchState) -> None:
        """Show the progress of `search`."""
        self._search = search
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        pane_styles, search, progress = self.pane_styles, self._search, self._search.progress
        sign, word = STATUS[search.phase]
        tone = {
            "running": pane_styles.key,
            "done": pane_styles.good,
            "failed": pane_styles.bad,
            "none": pane_styles.muted,
        }.get(search.phase, pane_styles.warn)
        stage = progress.stage if progress and search.phase == "running" else word
        line = StyledLine().add(f" {sign} ", tone).left(stage, 11, tone)
        if progress is None:
            return [line.strip()]
        times = f"{duration(progress.seconds)} elapsed"
        if progress.seconds_left is not None and search.live:
            times += f", {duration(progress.seconds_left)} left"
        steps = f"step {count(progress.step)}/{count(progress.steps)}"
        cells = max(6, min(40, width - line.width - len(times) - len(steps) - 6))
        share = 1.0 if search.phase == "done" else progress.step / max(1, progress.steps)
        full = round(cells * min(1.0, share))
        line.add("━" * full, tone).add("━" * (cells - full), pane_styles.rule)
        return [line.add(f"  {steps}").add(f"  {times}", pane_styles.muted).strip()]


class SearchPane(Vertical):
    """The progress line, the form and the report. The arguments are what the form starts with."""

    def __init__(self, method: str, target: float, seed: int) -> None:
        super().__init__(id="search", classes="pane")
        self.border_title = "Search"
        self._start = (method, target, seed)

    def compose(self) -> ComposeResult:
        yield SearchProgressLine()
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
