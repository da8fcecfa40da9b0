"""What happens at most now and then, with a clock that is set by hand."""

from __future__ import annotations

from circuit_tui.core.runtime.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def looks(due: Throttle, clock: Clock, count: int) -> list[bool]:
    """Whether it is due, every 0.4 s."""
    seen = []
    for _ in range(count):
        seen.append(due.due())
        clock.now += 0.4
    return seen


def test_at_most_once_in_so_many_seconds() -> None:
    clock = Clock()
    assert looks(Throttle(1.0, clock), clock, 8) == [True, False, False, True, False, False, True, False]


def test_an_interval_that_is_begun_anew() -> None:
    clock = Clock()
    throttle = Throttle(1.0, clock)
    throttle.restart()
    assert looks(throttle, clock, 3) == [False, False, False]
    throttle.restart()
    assert looks(throttle, clock, 4) == [False, False, False, True]


def test_without_an_interval_it_is_always_due() -> None:
    clock = Clock()
    throttle = Throttle(0.0, clock)
    throttle.restart()
    assert [throttle.due(), throttle.due()] == [True, True]
