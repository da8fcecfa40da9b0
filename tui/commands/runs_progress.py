"""How far a series of searches is, on stderr: a bar where stderr is a terminal, else a line now and then."""

from __future__ import annotations

from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.tui.commands.progress import TerminalBar, say
from circuit_tui.tui.drawing.number_text import duration

PLAIN_EVERY = 30.0
"""Seconds between two plain lines about the same run."""


class RunsBar(TerminalBar):
    """Shows a series of `total` runs under way."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__("{task.description}", 12, title)
        self._total = total
        self._last = ""
        self._throttle = Throttle(PLAIN_EVERY)

    def show(self, run: str, done: float, seconds_left: float | None) -> None:
        """`done` runs are over, the one called `run` is under way."""
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
