"""The audit pane: verdicts as they arrive, with a responsive screen; it is cleared when the circuit changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession
from textual.widgets import Input
from waiting import opens, ready, screen_text, searched, shows, wait_for

from circuit_tui.core.audit.finding import KEY_NUMBERS, TITLES, Finding
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import CircuitRows
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.widgets.audit_pane import AuditTable

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=12, search_steps=20)


async def found(pilot: Any) -> None:
    await ready(pilot)
    await searched(pilot)


async def test_before_an_audit_it_says_what_one_is(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("6", "j")
        await wait_for(pilot, lambda: isinstance(app.focused, AuditTable))
        await shows(pilot, "can this circuit be believed?", "A  starts one")


async def test_an_empty_circuit_is_refused_in_one_line(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: any("the circuit is empty" in n.message for n in app._notifications))
        assert app.engine.state.audit is None


async def test_verdicts_come_as_they_are_found(explorer: Make, session: FakeSession) -> None:
    session.hold_audit_at = 5
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("A")
        await shows(pilot, "s left", "not finished", TITLES["task"], "accuracy 98%", "faithfulness 0.951")
        assert 0 < len(app.main.shown.audit.findings) < len(TITLES)  # type: ignore[union-attr]
        assert TITLES["unseen"] not in screen_text(app)
        session.hold_audit_at = None
        await wait_for(pilot, lambda: app.main.shown.audit.progress is None)  # type: ignore[union-attr]
        await shows(pilot, "do not believe", "because of")
        table = app.main.panes.home("audit")
        verdicts = [finding.verdict for finding, _ in table._rows]  # type: ignore[attr-defined]
        assert verdicts == sorted(verdicts, key=["bad", "doubtful", "good", "not measured"].index)


async def test_enter_opens_and_closes_the_paragraph(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.outcome != "not finished")
        assert "Sentence" not in screen_text(app)
        await pilot.press("j", "enter")
        await shows(pilot, "at some length what it")
        opened = screen_text(app).splitlines()
        at = next(i for i, line in enumerate(opened) if "Sentence" in line)
        assert "○ bad" in opened[at - 1]
        await pilot.press("j", "enter")  # also from a line of the paragraph
        await wait_for(pilot, lambda: "Sentence" not in screen_text(app))


def test_every_line_of_the_audit_has_a_key_number() -> None:
    assert KEY_NUMBERS.keys() == TITLES.keys()


def test_a_key_number_that_rounds_to_zero_has_no_sign() -> None:
    assert Finding("overfit", "good", "", {"lost": -0.0001}).key_number == "loses 0.000"
    assert Finding("overfit", "good", "", {"lost": -0.002}).key_number == "loses -0.002"
    assert Finding("completeness", "good", "", {"completeness": -0.0001}).key_number == "0.0% left"
    assert Finding("overfit", "good", "", {"lost": None}).key_number == ""


async def test_a_toggle_is_served_and_ends_it(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit is not None)
        await pilot.press("1", "j", "space")
        await wait_for(pilot, lambda: app.main.shown.audit is None)
        await shows(pilot, "A  starts one")
        await pilot.press("u")
        await wait_for(pilot, lambda: app.main.shown.audit is not None)


async def test_it_can_be_stopped_and_started_anew(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        session.hold_audit_at = 5
        await pilot.press("A")
        await wait_for(pilot, lambda: session.audit_slices == 5 and app.main.shown.audit)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit.progress is None)  # type: ignore[union-attr]
        assert session.calls.count("start_audit") == 1
        assert session.calls.count("stop_audit") == 1
        await shows(pilot, "not finished", "A  continues it")
        session.hold_audit_at = None
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.shares)
        assert session.calls.count("start_audit") == 2


async def test_a_full_audit_stays_full_after_a_stop(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.outcome != "not finished")
        await shows(pilot, "F  runs its searches in full")
        session.hold_audit_at = 5
        await pilot.press("F")
        await wait_for(pilot, lambda: session.audit_slices == 5 and app.main.shown.audit)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit.progress is None)  # type: ignore[union-attr]
        await shows(pilot, "not finished", "A  continues it")
        session.hold_audit_at = None
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit.outcome != "not finished")  # type: ignore[union-attr]
        await pilot.press("A")
        await wait_for(pilot, lambda: len([call for call in session.calls if "audit" in call]) == 5)
        assert [call for call in session.calls if "audit" in call] == [
            "start_audit", "start_audit full", "stop_audit", "start_audit full", "start_audit full"
        ]  # fmt: skip
        assert not app.main.shown.audit.quick  # type: ignore[union-attr]
        (tmp_path / "mine.txt").write_text("words")
        await opens(pilot, AskText, "T")
        app.screen.query_one(Input).value = str(tmp_path / "mine.txt")
        await pilot.press("enter")
        await wait_for(pilot, lambda: f"start_audit full {tmp_path / 'mine.txt'}" in session.calls)


async def test_a_text_can_be_named_on_the_command_line_and_in_the_pane(
    explorer: Make, session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.txt").write_text("words")
    app = explorer(text=Path("given.txt"))
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: "start_audit given.txt" in session.calls)
        for typed in ("~/none.txt", "~/mine.txt"):
            await opens(pilot, AskText, "T")
            app.screen.query_one(Input).value = typed
            await pilot.press("enter")
            await wait_for(pilot, lambda: app.screen is app.main)
        await wait_for(pilot, lambda: f"start_audit {tmp_path / 'mine.txt'}" in session.calls)
        assert [toast.message for toast in app._notifications] == [f"{tmp_path / 'none.txt'}: no such file"]
        await wait_for(pilot, lambda: isinstance(app.focused, AuditTable))
        await pilot.press("T", "escape")
        assert sum(call.startswith("start_audit") for call in session.calls) == 2


async def test_shares_are_a_column_while_they_are_known(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("1")
        assert "share" not in screen_text(app)
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.shares)
        await pilot.press("1", "comma")
        await shows(pilot, "share▼", "%")
        await pilot.press("j", "space")
        await wait_for(pilot, lambda: app.main.shown.audit is None and "share" not in screen_text(app))


def test_rows_sort_by_share(session: FakeSession) -> None:
    rows = CircuitRows(session.table)
    session._edit(range(0, 40, 3), "x")
    rows.set_circuit(session.view(), whole=True)
    assert "share" not in rows.columns
    assert rows.value((0,), "share") is None
    rows.set_shares({0: 0.5, 3: 1.0})
    assert rows.columns[-1] == "share"
    assert rows.value((0, 3), "share") == 1.0
    assert rows.value((6,), "share") == 0.0
