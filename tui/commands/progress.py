"""The progress of the work on stderr: a bar if stderr is a terminal, otherwise a line from time to time."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.views import LoadProgress, SearchProgress
from circuit_tui.tui.drawing.number_text import download_text, duration

if TYPE_CHECKING:
    from circuit_tui.core.audit.finding import AuditProgress
    from circuit_tui.core.session.session import Session

PLAIN_EVERY = 5.0
"""Seconds between two plain lines of the same stage."""


class _Loading:
    """Shows the stages of opening: one line for each, and one that counts the bytes of a download."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._stage, self._open = "", False
        self._throttle = Throttle(PLAIN_EVERY, clock)

    def __call__(self, stage: LoadProgress) -> None:
        """Show one stage, or one step of a download."""
        bytes_text = download_text(stage)
        line = f"[{stage.done + 1}/{stage.total}] {stage.text}{' · ' if bytes_text else ''}{bytes_text}"
        if bytes_text and sys.stderr.isatty():
            # The line is overwritten each time. It is cut, because a line that wraps cannot be overwritten.
            sys.stderr.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()
            self._open = True
            return
        if bytes_text and stage.text == self._stage and not self._throttle.due():
            return
        self._throttle.restart()
        if self._open:
            sys.stderr.write("\n")
        self._stage, self._open = stage.text, False
        say(line)


loading = _Loading()
"""The progress callback of `open_session`."""


def say(text: str) -> None:
    """Write one line on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def finish_background_work(session: Session) -> None:
    """Compute everything that a session has left for later, with a line from time to time."""
    throttle = Throttle(PLAIN_EVERY)
    throttle.restart()
    while session.work():
        if throttle.due():
            view = session.view()
            say(f"effects of single nodes: {view.effects_done} of {view.size}")


class TerminalBar:
    """A context manager for bars on stderr, each with the column `head` before it and a text behind it.

    `_first` is the first bar, with the description `title`. If stderr is no terminal, `_bars` and `_first` are None.
    """

    def __init__(self, head: str, width: int, title: str = "") -> None:
        self._head, self._width, self._title = head, width, title
        self._bars: Any = None
        self._first: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn(self._head, markup=False),
                BarColumn(self._width),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._bars = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._first = self._bars.add_task(self._title, text="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


class Bar(TerminalBar):
    """A bar on a terminal; otherwise a line at each new stage and from time to time."""

    def __init__(self) -> None:
        super().__init__("{task.description:9}", 30)
        self._stage = ""
        self._throttle = Throttle(PLAIN_EVERY)

    def update(self, stage: str, text: Callable[[], str], done: float, total: float) -> None:
        """Show that `done` of `total` is done in `stage`, and a few words."""
        if self._bars is not None:
            self._bars.update(self._first, completed=done, total=total, description=stage, text=text())
            return
        if stage == self._stage and not self._throttle.due():
            return
        self._throttle.restart()
        self._stage = stage
        say(f"{stage} {text()}")

    def say(self, text: str) -> None:
        """Write a line that stays, above the bar."""
        if self._bars is None:
            say(text)
        else:
            self._bars.console.print(text, markup=False, highlight=False)


class SearchBar(Bar):
    """Shows a search while it runs."""

    def show(self, step: SearchProgress) -> None:
        """Show one step of the search."""
        self.update(step.stage, lambda: describe(step), step.step, max(step.steps, step.step, 1))


class AuditBar(Bar):
    """Shows an audit while it runs."""

    def show(self, step: AuditProgress) -> None:
        """Show one slice of the audit."""
        if step.done < step.total:
            self.update(step.title, lambda: describe_audit(step), step.share, 1.0)


def describe_audit(step: AuditProgress) -> str:
    """``16/18 · 3 of 11 searches · 40 s left``."""
    parts = [f"{step.done + 1}/{step.total}"]
    if step.searches is not None:
        over, every = step.searches
        parts.append(f"{over} of {every} searches")
    if step.seconds_left is not None:
        parts.append(f"{duration(step.seconds_left)} left")
    return " · ".join(parts)


def describe(step: SearchProgress) -> str:
    """``120/240 · faithfulness 0.953 · 41 nodes · 3.0 s left``."""
    parts = [f"{step.step}/{step.steps}"]
    faithfulness = step.hard if step.hard is not None else step.soft
    if faithfulness is not None:
        parts.append(f"faithfulness {faithfulness:.3f}")
    parts.append(f"{step.size} nodes")
    if step.seconds_left is not None:
        parts.append(f"{duration(step.seconds_left)} left")
    return " · ".join(parts)
