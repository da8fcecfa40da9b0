from __future__ import annotations

import math

import pytest

from circuit_tui.tui.drawing.number_text import compact, count, duration, fixed, percent, signed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (fixed(0.95149), "0.951"),
        (fixed(-0.0001), "0.000"),
        (fixed(None), "–"),
        (fixed(math.nan), "–"),
        (signed(0.0312), "+0.031"),
        (signed(-0.0002), "0.000"),
        (signed(None, 3, "…"), "…"),
        (compact(0.123), "0.12"),
        (compact(12.34), "12.3"),
        (compact(1234.5), "1234"),
        (compact(123456.0), "1e5"),
        (percent(0.001), "<1%"),
        (percent(0.0), "0%"),
        (percent(0.999), ">99%"),
        (percent(1.0), "100%"),
        (count(20000), "20,000"),
        (duration(1.25), "1.2 s"),
        (duration(42.4), "42 s"),
        (duration(200), "3 min 20 s"),
        (duration(7260), "2 h 01 min"),
        (duration(None), "–"),
    ],
)
def test_numbers_are_written_as_people_read_them(text: str, expected: str) -> None:
    assert text == expected
