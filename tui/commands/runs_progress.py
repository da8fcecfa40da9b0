"""How far a series of searches is, on stderr: a bar where stderr is a terminal, else a line now and then."""

from __future__ import annotations

import time

from circuit_tui.tui.commands.progress import TerminalBar, say
from circuit_tui.tui.drawing.number_text import duration

PLAIN_EVERY = 30.0
"""Seconds between two plain lines about the same run."""


class RunsBar(TerminalBar):
    """Shows a series of `total` runs under way."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__("{task.description}", 12, title)
        self._total = total
        self._told, self._last = 0.0, ""

    def show(self, run: str, done: float, seconds_left: float | None) -> None:
        """`done` runs are over, the one called `run` is under way."""
        left = [] if seconds_left is None else [f"{duration(seconds_left)} left"]
        text = " · ".join([f"run {min(int(done) + 1, self._total)}/{self._total}", *left, run])
        if self._bars is not None:
            self._bars.update(self._first, completed=done, total=self._total, text=text)
            return
        now = time.monotonic()
        if run != self._last or now - self._told >= PLAIN_EVERY:
            self._told, self._last = now, run
            say(f"{self._title}: {text}")
