"""Pictures of the screens: they change only on purpose (`pytest --snapshot-update tests/tui/test_appearance.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_session import FakeSession
from waiting import edit, ready, searched, settled, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.widgets.circuits_pane import CircuitFiles

NARROW, MEDIUM, WIDE, HUGE = (80, 24), (120, 36), (160, 50), (200, 60)
Make = Callable[..., ExplorerApp]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=12, search_steps=40)


async def found(pilot: Any) -> None:
    """Find a circuit, and wait until all its numbers are computed."""
    await ready(pilot)
    await searched(pilot)
    await settled(pilot)


@pytest.mark.parametrize("size", [NARROW, MEDIUM, WIDE, HUGE], ids=["narrow", "medium", "wide", "huge"])
def test_opened(snap_compare: Any, explorer: Make, size: tuple[int, int]) -> None:
    async def run(pilot: Any) -> None:
        await ready(pilot)
        await settled(pilot)

    assert snap_compare(explorer(), terminal_size=size, run_before=run)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_circuit_with_one_node_switched_off(
    snap_compare: Any, explorer: Make, size: tuple[int, int], theme: str
) -> None:
    async def run(pilot: Any) -> None:
        await found(pilot)
        await edit(pilot, "1", "j", "j", "space")
        await settled(pilot)

    assert snap_compare(explorer(theme=theme), terminal_size=size, run_before=run)


@pytest.mark.parametrize(
    "pane",
    ["2", "3", "4", "5", "6", "7", "0"],
    ids=["latent", "prompts", "search", "frontier", "audit", "edges", "circuits"],
)
def test_the_other_panes(snap_compare: Any, explorer: Make, pane: str) -> None:
    async def run(pilot: Any) -> None:
        await found(pilot)
        await pilot.press(pane)
        await settled(pilot)
        if pane == "0":
            files = pilot.app.main.query_one(CircuitFiles)
            await wait_for(pilot, lambda: files.scanned and files.rows)
            await pilot.press("c")
        if pane == "3":
            await pilot.press("enter")
            await wait_for(pilot, lambda: pilot.app.main.shown.prompt is not None)
            await settled(pilot)

    assert snap_compare(explorer(), terminal_size=NARROW, run_before=run)


@pytest.mark.parametrize(
    ("size", "theme", "colour"),
    [(NARROW, "dark", True), (WIDE, "ansi", True), (NARROW, "light", False)],
    ids=["narrow-dark", "wide-ansi", "without-colour"],
)
def test_the_graph_of_edges(
    snap_compare: Any,
    explorer: Make,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    theme: str,
    colour: bool,
) -> None:
    """Boxes and links; the cursor's neighbourhood is bright. On the wide screen the pane is zoomed."""
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")

    async def run(pilot: Any) -> None:
        await found(pilot)
        await pilot.press("7", "v", *(["z"] if size == WIDE else []))
        await settled(pilot)
        await pilot.press("up")
        await settled(pilot)

    assert snap_compare(explorer(theme=theme), terminal_size=size, run_before=run)


@pytest.mark.parametrize("theme", ["light", "ansi"])
def test_the_frontier_beside_the_other_panes(snap_compare: Any, explorer: Make, theme: str) -> None:
    async def run(pilot: Any) -> None:
        await found(pilot)
        await edit(pilot, "5", "h", "h", "h", "enter")
        await pilot.press("h", "h", "h")
        await settled(pilot)

    assert snap_compare(explorer(theme=theme), terminal_size=WIDE, run_before=run)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_an_audit(snap_compare: Any, explorer: Make, size: tuple[int, int]) -> None:
    """A finished audit: the verdicts, and beside them the share of searches that chose each node."""

    async def run(pilot: Any) -> None:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: pilot.app.main.shown.audit and pilot.app.main.shown.audit.shares)
        await settled(pilot)
        await pilot.press("1" if size == NARROW else "j")
        await settled(pilot)

    assert snap_compare(explorer(), terminal_size=size, run_before=run)


@pytest.mark.parametrize("pane", ["3", "4", "5", "6"], ids=["prompts", "search", "frontier", "audit"])
def test_the_lower_panes_on_a_screen_of_120_columns(snap_compare: Any, explorer: Make, pane: str) -> None:
    themes = {"3": "dark", "4": "light", "5": "ansi", "6": "dark"}

    async def run(pilot: Any) -> None:
        await found(pilot)
        if pane == "6":
            await pilot.press("A")
            await wait_for(pilot, lambda: pilot.app.main.shown.audit and pilot.app.main.shown.audit.shares)
        await pilot.press(pane, *{"3": ["enter"], "4": ["tab", "tab"], "6": ["j", "enter"]}.get(pane, []))
        await settled(pilot)

    assert snap_compare(explorer(theme=themes[pane]), terminal_size=MEDIUM, run_before=run)


@pytest.mark.parametrize("size", [NARROW, MEDIUM], ids=["narrow", "medium"])
def test_without_colour(
    snap_compare: Any, explorer: Make, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """The cursor, a warning and the focus are seen by weight, underline, reverse, signs and a heavy frame."""

    async def run(pilot: Any) -> None:
        await found(pilot)
        await edit(pilot, "1", "j", "space")
        await settled(pilot)

    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(explorer(), terminal_size=size, run_before=run)


def test_the_choice_of_columns(snap_compare: Any, explorer: Make) -> None:
    async def run(pilot: Any) -> None:
        await ready(pilot)
        await settled(pilot)
        await pilot.press("C", "j")

    assert snap_compare(explorer(), terminal_size=MEDIUM, run_before=run)


def test_help(snap_compare: Any, explorer: Make) -> None:
    async def run(pilot: Any) -> None:
        await ready(pilot)
        await pilot.press("question_mark")
        await wait_for(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))

    assert snap_compare(explorer(), terminal_size=NARROW, run_before=run)
