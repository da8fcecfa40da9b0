"""The history of a search in a bounded number of points, for the charts."""

from __future__ import annotations

from circuit_tui.core.views import SearchProgress
from circuit_tui.tui.engine.rate import Rate

LIMIT = 512


class SearchTrace:
    """Keeps at most `LIMIT` points of a run of any length: when it is full, every second point is dropped."""

    def __init__(self) -> None:
        self.rate = Rate()
        self._points: list[SearchProgress] = []
        self._stride = 1
        self._seen = 0
        self._last: SearchProgress | None = None

    def add(self, progress: SearchProgress) -> None:
        """Add one step."""
        if self._seen % self._stride == 0:
            self._points.append(progress)
            if len(self._points) >= LIMIT:
                self._points = self._points[::2]
                self._stride *= 2
        self._seen += 1
        self._last = progress
        self.rate.add()

    def points(self) -> tuple[SearchProgress, ...]:
        """The points kept; the newest is always among them."""
        if self._last is None or (self._points and self._points[-1] is self._last):
            return tuple(self._points)
        return (*self._points, self._last)
