"""The search in one line: what it does and the time it takes; when it is done, what it has found."""

from __future__ import annotations

from textual import events
from textual.strip import Strip

from circuit_tui.core.views import SearchResult
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.number_text import count, duration, fixed
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.widgets.lines_view import LinesView

STATUS = {
    "none": ("○", "no search yet"),
    "running": ("▶", "running"),
    "paused": ("‖", "paused"),
    "stopping": ("■", "stopping"),
    "done": ("●", "done"),
    "failed": ("✗", "failed"),
}


class SearchProgressLine(LinesView):
    """One line about the search. A click on it goes to the search pane."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._search = SearchState()

    @property
    def begun(self) -> bool:
        """Whether there is anything to say: a search has been started."""
        return self._search.phase != "none"

    def show(self, search: SearchState) -> None:
        """Show the progress of `search`."""
        self._search = search
        self.rebuild()

    async def on_click(self, event: events.Click) -> None:
        await self.screen.run_action("pane('search')")

    def build(self, width: int) -> list[Strip]:
        search = self._search
        if search.phase == "done" and search.result is not None:
            return [self._found(search.result)]
        pane_styles, progress = self.pane_styles, search.progress
        sign, word = STATUS[search.phase]
        tone = {
            "running": pane_styles.key,
            "done": pane_styles.good,
            "failed": pane_styles.bad,
            "none": pane_styles.muted,
        }.get(search.phase, pane_styles.warn)
        stage = progress.stage if progress and search.phase == "running" else word
        line = StyledLine().add(f" {sign} ", tone).left(stage, 14, tone)
        if progress is None:
            return [line.strip()]
        times = f"{duration(progress.seconds)} elapsed"
        if progress.seconds_left is not None and search.live:
            times += f", {duration(progress.seconds_left)} left"
        steps = f"step {count(progress.step)}/{count(progress.steps)}"
        cells = max(6, min(40, width - line.width - len(times) - len(steps) - 6))
        full = round(cells * min(1.0, progress.step / max(1, progress.steps)))
        line.add("━" * full, tone).add("━" * (cells - full), pane_styles.rule)
        return [line.add(f"  {steps}").add(f"  {times}", pane_styles.muted).strip()]

    def _found(self, result: SearchResult) -> Strip:
        pane_styles = self.pane_styles
        met = result.reached and not result.stopped
        verdict = "stopped early" if result.stopped else "reached" if result.reached else "not reached"
        line = StyledLine().add(f" {STATUS['done'][0]} ", pane_styles.good if met else pane_styles.warn)
        line.add(f"{result.method} ", pane_styles.title).add(f"{count(len(result.nodes))} nodes", pane_styles.strong)
        line.add(f"  target {result.target:g} ", pane_styles.muted)
        line.add(verdict, pane_styles.good if met else pane_styles.warn)
        line.add("  held-out ", pane_styles.muted).add(fixed(result.test.faithfulness), pane_styles.strong)
        return line.add(f"  seed {result.seed}  {duration(result.seconds)}", pane_styles.muted).strip()
