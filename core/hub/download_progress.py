"""How far a download is: bytes, and the time left at the recent rate."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from circuit_tui.core.views import LoadProgress

REPORT_EVERY = 0.25
"""Seconds between two reports."""
WINDOW = 10.0
"""Seconds over which the rate is taken."""


class DownloadProgress:
    """Counts the bytes of one download of `total` bytes, of which `done` are there, and reports them.

    `report` gets a `LoadProgress` at most every `REPORT_EVERY` seconds; what it raises ends the download.
    """

    def __init__(
        self,
        report: Callable[[LoadProgress], None],
        stage: LoadProgress,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._stage, self._total, self._clock = report, stage, total, clock
        self._done, self._text = 0, stage.text
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._told = -REPORT_EVERY

    def begin(self, text: str, have: int) -> None:
        """A file begins, of which `have` bytes are there from before; they say nothing of the rate."""
        self._text = text
        self._done += have
        self._marks = deque((at, count + have) for at, count in self._marks)
        self._tell(now=True)

    def add(self, count: int) -> None:
        """So many more bytes are on the disk; fewer when a server made us begin again."""
        self._done += count
        self._tell(now=False)

    def wait(self, text: str, seconds: float) -> None:
        """Waits, reporting, so that it can be cancelled."""
        until = self._clock() + seconds
        self._text, before = text, self._text
        while self._clock() < until:
            self._tell(now=True)
            time.sleep(min(REPORT_EVERY, seconds))
        self._text = before

    def _tell(self, *, now: bool) -> None:
        at = self._clock()
        if not now and at - self._told < REPORT_EVERY and self._done < self._total:
            return
        self._told = at
        self._marks.append((at, self._done))
        while len(self._marks) > 2 and at - self._marks[0][0] > WINDOW:
            self._marks.popleft()
        first, count = self._marks[0]
        rate = (self._done - count) / (at - first) if at - first > 0.5 else 0.0
        left = (self._total - self._done) / rate if rate > 0 else None
        self._report(
            LoadProgress(self._text, self._stage.done, self._stage.total, self._done, self._total, left),
        )
