"""Braille curves and bars."""

from __future__ import annotations

import math

import pytest

from circuit_tui.tui.drawing.chart import GUTTER, Axis, Curve, axis_around, bar, chart, columns_chart
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import DARK

STYLES = pane_styles_for(DARK)


def draw(points: list[tuple[float, float]], axis: Axis, width: int = 18, height: int = 3) -> list[str]:
    return [strip.text[GUTTER:] for strip in chart([Curve(points, STYLES.plain)], axis, width, height, STYLES)]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    lines = draw([(0, 0), (1, 1)], Axis(0, 1))
    assert lines[2][0] != " "
    assert lines[0][-1] != " "
    assert lines[0][0] == " "
    assert lines[2][-1] == " "


def test_ends_of_the_axis_are_written() -> None:
    strips = chart([Curve([(0, 0.2), (1, 0.8)], STYLES.plain)], Axis(0, 1, "{:.1f}", 0.5), 20, 5, STYLES)
    assert strips[0].text.startswith("   1.0┤")
    assert strips[4].text.startswith("   0.0┤")
    assert "┈" in strips[2].text, "the target is a dotted rule"
    assert {strip.cell_length for strip in strips} == {19}


@pytest.mark.parametrize("points", [[], [(3.0, 0.5)], [(0.0, math.nan), (1.0, 0.5)], [(0.0, 9.0), (1.0, -9.0)]])
def test_odd_input_draws_something_of_the_right_size(points: list[tuple[float, float]]) -> None:
    lines = draw(points, Axis(0, 1))
    assert {len(line) for line in lines} == {10}


def test_a_flat_curve_has_an_axis() -> None:
    axis = axis_around([Curve([(0, 2.0), (1, 2.0)], STYLES.plain)], "{:.2f}")
    assert axis.high > axis.low


def test_bars_fill_by_eighths() -> None:
    assert bar(0, 4) == ""
    assert bar(1, 4) == "████"
    assert bar(0.5, 1) == "▌"
    assert bar(7, 2) == "██"


def test_a_small_count_still_has_a_bar() -> None:
    strips = columns_chart((0, 1, 1000), 3, 2, STYLES.plain)
    assert [strip.text for strip in strips] == ["  █", " ▁█"]
    assert columns_chart((0, 0), 4, 2, STYLES.plain) == []
