"""What happens at most now and then, with a clock that is set by hand."""

from __future__ import annotations

from itertools import pairwise

from circuit_tui.core.runtime.throttle import Budget, Throttle


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


def test_what_costs_much_happens_less_often() -> None:
    clock, spent = Clock(), [0.0]
    budget, times = Budget(5000, lambda: spent[0], 3.0, clock), []
    for _ in range(400):
        if budget.due():
            times.append(clock.now)
            spent[0] += 10_000
        clock.now += 0.25
    assert spent[0] / 100 <= 5000 * 1.03
    assert times[1] - times[0] == 2.0


def test_nothing_keeps_it_waiting_for_ever() -> None:
    clock, spent = Clock(), [0.0]
    budget, times = Budget(5000, lambda: spent[0], 3.0, clock), []
    for _ in range(100):
        spent[0] += 10_000  # someone else's
        if budget.due():
            times.append(clock.now)
        clock.now += 0.25
    assert {later - earlier for earlier, later in pairwise(times)} == {3.0}


def test_what_costs_nothing_is_always_due() -> None:
    budget = Budget(5000, lambda: 0.0, 3.0, Clock())
    assert all(budget.due() for _ in range(5))
