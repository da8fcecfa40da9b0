"""How often something happens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 2.0
"""Seconds over which the rate is taken."""


class Rate:
    """How many times in a second `add` is called, over the last `WINDOW` seconds. `clock` gives seconds."""

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
        """Times in a second; None before it has happened twice."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])
