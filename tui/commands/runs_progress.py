"""The progress of a series of searches on stderr: a bar if it is a terminal, otherwise a line from time to time."""

from __future__ import annotations

from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.tui.commands.progress import TerminalBar, say
from circuit_tui.tui.drawing.number_text import duration

PLAIN_EVERY = 30.0
"""Seconds between two plain lines about the same run."""


class RunsBar(TerminalBar):
    """Shows the progress of a series of `total` runs."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__("{task.description}", 12, title)
        self._total = total
        self._last = ""
        self._throttle = Throttle(PLAIN_EVERY)

    def show(self, run: str, done: float, seconds_left: float | None) -> None:
        """Show that `done` runs are finished and the one called `run` is running."""
        left = [] if seconds_left is None else [f"{duration(seconds_left)} left"]
        text = " · ".join([f"run {min(int(done) + 1, self._total)}/{self._total}", *left, run])
        if self._bars is not None:
            self._bars.update(self._first, completed=done, total=self._total, text=text)
            return
        if run == self._last and not self._throttle.due():
            return
        self._throttle.restart()
        self._last = run
        say(f"{self._title}: {text}")
