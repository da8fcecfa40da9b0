"""How far a series of searches is, on stderr: a bar where stderr is a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from circuit_tui.tui.commands.progress import say

PLAIN_EVERY = 30.0
"""Seconds between two plain lines about the same run."""


class RunsBar:
    """Shows a series of `total` runs under way; a context manager."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._bar: Any = None
        self._bar_task: Any = None
        self._told, self._last = 0.0, ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(12), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._bar_task = self._bar.add_task(self._title, total=self._total, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, run: str, done: float, seconds_left: float | None) -> None:
        """`done` runs are over, the one called `run` is under way."""
        left = [] if seconds_left is None else [f"{duration(seconds_left)} left"]
        text = " · ".join([f"run {min(int(done) + 1, self._total)}/{self._total}", *left, run])
        if self._bar is not None:
            self._bar.update(self._bar_task, completed=done, text=text)
            return
        now = time.monotonic()
        if run != self._last or now - self._told >= PLAIN_EVERY:
            self._told, self._last = now, run
            say(f"{self._title}: {text}")


def duration(seconds: float) -> str:
    """``42 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
