"""How often something happens, and making something happen no more often than is useful."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 2.0  # seconds


class Rate:
    """How many times in a second `add` is called, by the last `WINDOW` seconds. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque()

    def add(self) -> None:
        """It has happened now."""
        now = self._clock()
        self._times.append(now)
        while now - self._times[0] > WINDOW and len(self._times) > 2:
            self._times.popleft()

    @property
    def per_second(self) -> float | None:
        """None before it has happened twice."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])


class Throttle:
    """True when called, but at most once in `seconds`."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last: float | None = None

    def __call__(self) -> bool:
        now = self._clock()
        if self._last is not None and now - self._last < self._seconds:
            return False
        self._last = now
        return True
