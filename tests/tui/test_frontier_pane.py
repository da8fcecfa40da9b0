"""The frontier pane: drawing it while a search runs, moving along it, loading its circuits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_session import FakeSession
from waiting import ready, screen_text, searched, shown_size, shows, wait_for

from circuit_tui.core.views import FrontierPoint
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.drawing.chart import GUTTER
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import DARK
from circuit_tui.tui.engine.engine import FRONTIER_EVERY
from circuit_tui.tui.screens.explorer import CHART_RATE
from circuit_tui.tui.widgets.frontier_chart import CURRENT, CURSOR, CircuitPoint, FrontierDrawing, frontier_chart
from circuit_tui.tui.widgets.frontier_pane import FrontierPane

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)
STYLES = pane_styles_for(DARK)


def pane_of(app: ExplorerApp) -> FrontierPane:
    return app.main.query_one(FrontierPane)


def cursor(app: ExplorerApp) -> int:
    point = pane_of(app).point
    assert point is not None
    return point.size


def reaching(points: tuple[FrontierPoint, ...]) -> int:
    """The smallest size that reaches the target, where the cursor is at first."""
    return next(point.size for point in points if point.train >= 0.95)


async def walked(pilot: Any) -> tuple[FrontierPoint, ...]:
    """Run a search to its end, and return the pane with its frontier."""
    await ready(pilot)
    await searched(pilot)
    await pilot.press("5")
    await wait_for(pilot, lambda: pilot.app.focused is pane_of(pilot.app))
    points: tuple[FrontierPoint, ...] = pilot.app.engine.state.search.frontier
    return points


async def test_before_a_search_it_says_how_to_get_one(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("5", "l", "enter", "G")
        await wait_for(pilot, lambda: isinstance(app.focused, FrontierPane))
        await shows(pilot, "starts a search")


async def test_it_grows_while_the_search_runs(explorer: Make, session: FakeSession) -> None:
    session.step_seconds, session.hold_at = 0.005, 20
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("s", "5")
        await shows(pilot, "the mask so far", "no hard circuit evaluated yet")
        session.hold_at = 54
        await shows(pilot, "━ train", "held-out –")
        assert app.engine.state.search.live
        early = app.engine.state.search.frontier
        session.hold_at = None
        await wait_for(pilot, lambda: app.main.shown.search.phase == "done")
        assert app.engine.state.search.frontier[0].size < early[0].size
        await shows(pilot, "━ held-out", "┈ target 0.95")
        assert "the mask so far" not in screen_text(app)


async def test_it_is_asked_for_no_more_often_than_it_is_drawn(
    explorer: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FRONTIER_EVERY == 1 / CHART_RATE
    monkeypatch.setattr("circuit_tui.tui.engine.engine.FRONTIER_EVERY", 1e6)
    looks = 0
    frontier = session.searches.frontier

    def counted() -> tuple[FrontierPoint, ...]:
        nonlocal looks
        looks += 1
        return frontier()

    session.searches.frontier = counted  # type: ignore[method-assign]
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await walked(pilot)
        assert session.calls.count("step") > 50
        assert looks == 2, "at the first step, and at the end"


async def test_keys_move_along_the_points(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        points = await walked(pilot)
        sizes = [point.size for point in points]
        assert cursor(app) == reaching(points)
        for key, step in (("left", -1), ("h", -1), ("down", -1), ("j", -1), ("pagedown", -10)):
            before = sizes.index(cursor(app))
            await pilot.press(key)
            assert sizes.index(cursor(app)) == before + step, key
        for key, step in (("right", 1), ("l", 1), ("up", 1), ("k", 1), ("ctrl+u", 10)):
            before = sizes.index(cursor(app))
            await pilot.press(key)
            assert sizes.index(cursor(app)) == before + step, key
        await pilot.press("g")
        assert cursor(app) == sizes[0]
        await pilot.press("left")
        assert cursor(app) == sizes[0]
        await pilot.press("G", "right")
        assert cursor(app) == sizes[-1]


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_enter_loads_the_circuit_and_u_takes_it_back(
    explorer: Make, session: FakeSession, size: tuple[int, int]
) -> None:
    app = explorer()
    async with app.run_test(size=size) as pilot:
        await walked(pilot)
        found = session.kept
        await pilot.press("left", "left", "left", "enter")
        wanted = cursor(app)
        await wait_for(pilot, lambda: shown_size(app) == wanted)
        assert f"load_frontier {wanted}" in session.calls
        await shows(pilot, f"frontier: {wanted} n")
        await pilot.press("u")
        await wait_for(pilot, lambda: shown_size(app) == len(found))
        assert session.kept == found


async def test_a_double_click_loads_what_it_hits(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        points = await walked(pilot)
        await pilot.click(FrontierPane, offset=(GUTTER, 6), times=2)
        await wait_for(pilot, lambda: f"load_frontier {points[0].size}" in session.calls)
        assert cursor(app) == points[0].size


async def test_a_point_can_be_loaded_while_the_search_is_paused(explorer: Make, session: FakeSession) -> None:
    session.step_seconds, session.hold_at = 0.005, 54
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("s", "5")
        await wait_for(pilot, lambda: len(app.main.shown.search.frontier) > 3)
        await pilot.press("p")
        await wait_for(pilot, lambda: app.main.shown.search.phase == "paused")
        await pilot.press("enter")
        wanted = cursor(app)
        await wait_for(pilot, lambda: shown_size(app) == wanted)


async def test_a_new_search_forgets_where_the_cursor_was(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        points = await walked(pilot)
        await pilot.press("g")
        assert cursor(app) == points[0].size
        await walked(pilot)
        assert cursor(app) == reaching(points)


async def test_on_a_large_screen_it_shares_its_place_with_the_prompts(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        assert not pane_of(app).is_on_screen
        await pilot.press("5")
        await wait_for(pilot, lambda: pane_of(app).is_on_screen)
        await pilot.press("1")
        await wait_for(pilot, lambda: app.main.panes.current == "circuit")
        assert pane_of(app).is_on_screen
        await pilot.press("3")
        await wait_for(pilot, lambda: not pane_of(app).is_on_screen)


POINTS = tuple(FrontierPoint(size, 0.1 * power, None) for power, size in enumerate((1, 10, 100, 1000), 1))


def test_sizes_are_on_a_logarithmic_scale() -> None:
    lines = frontier_chart(FrontierDrawing(POINTS), GUTTER + 1 + 91, 6, STYLES)
    axis = lines[-1].text[GUTTER:]
    assert axis.index("1") == 0
    assert axis.index("10") + 1 == pytest.approx(30, abs=1)
    assert axis.index("100") + 1 == pytest.approx(60, abs=1)
    assert axis.rstrip().endswith("1,000")
    assert [size for size in ("20", "50", "200", "500") if size in axis.split()] == ["20", "50", "200", "500"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_marks_stand_at_their_sizes(width: int) -> None:
    drawing = FrontierDrawing(POINTS, 0.95, CircuitPoint(10, 0.2), CircuitPoint(1000, 1.0))
    lines = [strip.text for strip in frontier_chart(drawing, width, 8, STYLES)]
    columns = width - GUTTER - 1
    marked = next(line for line in lines if CURSOR in line)
    assert marked.index(CURSOR) - GUTTER == pytest.approx((columns - 1) / 3, abs=1)
    assert lines[0].index(CURRENT) == width - 2
    assert all(len(line) <= width for line in lines)


def test_a_current_circuit_larger_than_the_frontier_widens_the_axis() -> None:
    lines = frontier_chart(FrontierDrawing(POINTS[:2], current=CircuitPoint(1000, 1.0)), 80, 8, STYLES)
    assert "1,000" in lines[-1].text


@pytest.mark.parametrize("points", [(), POINTS[:1], (FrontierPoint(0, -3.0, 2.0), FrontierPoint(5, 7.5, None))])
def test_odd_frontiers_draw_something_of_the_right_size(points: tuple[FrontierPoint, ...]) -> None:
    lines = frontier_chart(FrontierDrawing(points, current=CircuitPoint(0, 0.0)), 40, 5, STYLES)
    assert len(lines) == 5
    assert max(strip.cell_length for strip in lines) <= 40
