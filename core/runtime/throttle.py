"""Makes something happen no more often than is useful."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets something happen at most once in `seconds`. `clock` gives seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last: float | None = None

    def due(self) -> bool:
        """Whether the interval is over, or none has begun. If so, the next one begins."""
        if self._last is not None and self._clock() - self._last < self._seconds:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Begins an interval now: what is throttled has just happened, or need not happen yet."""
        self._last = self._clock()
