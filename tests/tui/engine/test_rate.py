"""Rates, with a clock that is set by hand."""

from __future__ import annotations

import pytest

from circuit_tui.tui.engine.rate import WINDOW, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second is None
    rate.add()
    assert rate.per_second is None
    for _ in range(100):
        clock.now += 0.1
        rate.add()
    assert rate.per_second == pytest.approx(10)
    for _ in range(2 * round(WINDOW / 0.05)):
        clock.now += 0.05
        rate.add()
    assert rate.per_second == pytest.approx(20)


def test_steps_slower_than_the_window_have_a_rate_too() -> None:
    clock = Clock()
    rate = Rate(clock)
    for _ in range(5):
        rate.add()
        clock.now += 2 * WINDOW
    assert rate.per_second == pytest.approx(0.5 / WINDOW)
