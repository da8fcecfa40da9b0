"""Makes something happen no more often than is useful, or than it may cost."""

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


class Budget:
    """Lets something happen as often as what it costs allows, at most `longest` seconds apart.

    Args:
        rate: what may be spent in a second, on average.
        spent: what has been spent so far, by anyone.
        longest: seconds after which it is due at any cost.
        clock: gives seconds.
    """

    def __init__(
        self, rate: float, spent: Callable[[], float], longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._spent, self._longest, self._clock = rate, spent, longest, clock
        self._last: tuple[float, float] | None = None

    def due(self) -> bool:
        """Whether what was spent since it was last due is paid off. If so, it happens now."""
        now, spent = self._clock(), self._spent()
        if self._last is not None:
            waited, cost = now - self._last[0], spent - self._last[1]
            if waited < min(cost / self._rate, self._longest):
                return False
        self._last = now, spent
        return True
