"""The audit pane: verdicts as they arrive, the screen alive meanwhile, put away when the circuit changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession
from textual.widgets import Input
from waiting import ready, screen_text, wait_for

from circuit_tui.core.audit.finding import TITLES
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import CircuitRows
from circuit_tui.tui.widgets.audit_pane import AuditPane

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=12, search_steps=20)


async def found(pilot: Any) -> None:
    await ready(pilot)
    await pilot.press("s")
    await wait_for(pilot, lambda: pilot.app._main._shown.search.phase == "done")


async def test_before_an_audit_it_says_what_one_is(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("6", "j")
        assert isinstance(app.focused, AuditPane)
        assert "is this circuit to be believed?" in screen_text(app)
        assert "A  starts one" in screen_text(app)


async def test_an_empty_circuit_is_refused_in_one_line(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: any("the circuit is empty" in n.message for n in app._notifications))
        assert app.engine.state.audit is None


async def test_verdicts_come_as_they_are_found(explorer: Make, session: FakeSession) -> None:
    work, seen = session.work, []

    def slowly() -> bool:
        if session.auditing:
            time.sleep(0.03)
        return work()

    session.work = slowly  # type: ignore[method-assign]
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: "s left" in screen_text(app))
        assert "not finished" in screen_text(app)
        await wait_for(pilot, lambda: "Sentence 1 says" in screen_text(app))
        seen.append(len(app._main._shown.audit.findings))  # type: ignore[union-attr]
        await wait_for(pilot, lambda: not session.auditing and app._main._shown.audit.progress is None)  # type: ignore[union-attr]
        assert 0 < seen[0] < len(TITLES)
        assert "do not believe" in screen_text(app)
        assert "because of" in screen_text(app)
        await pilot.press("G")
        await pilot.pause()
        assert "resampled search prompts" in screen_text(app)


async def test_a_toggle_is_served_and_ends_it(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await found(pilot)
        await pilot.press("A")
        await wait_for(pilot, lambda: app._main._shown.audit is not None)
        await pilot.press("1", "j", "space")
        await wait_for(pilot, lambda: app._main._shown.audit is None)
        assert "A  starts one" in screen_text(app)
        await pilot.press("u")
        await wait_for(pilot, lambda: app._main._shown.audit is not None)


async def test_it_can_be_stopped_and_started_anew(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        work = session.work

        def paused() -> bool:
            if session.auditing and session.audit_slices >= 5:
                return True
            return work()

        session.work = paused  # type: ignore[method-assign]
        await pilot.press("A")
        await wait_for(pilot, lambda: session.audit_slices >= 5 and app._main._shown.audit)
        await pilot.press("A")
        await wait_for(pilot, lambda: app._main._shown.audit.progress is None)  # type: ignore[union-attr]
        assert session.calls.count("start_audit") == 1
        assert session.calls.count("stop_audit") == 1
        assert "not finished" in screen_text(app)
        assert "A  goes on with it" in screen_text(app)
        session.work = work  # type: ignore[method-assign]
        await pilot.press("A")
        await wait_for(pilot, lambda: app._main._shown.audit and app._main._shown.audit.shares)
        assert session.calls.count("start_audit") == 2


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
            await pilot.press("T")
            await pilot.pause()
            app.screen.query_one(Input).value = typed
            await pilot.press("enter")
        await wait_for(pilot, lambda: f"start_audit {tmp_path / 'mine.txt'}" in session.calls)
        assert [toast.message for toast in app._notifications] == [f"{tmp_path / 'none.txt'}: no such file"]
        await wait_for(pilot, lambda: isinstance(app.focused, AuditPane))
        await pilot.press("T", "escape")
        assert sum(call.startswith("start_audit") for call in session.calls) == 2


async def test_shares_are_a_column_while_they_are_known(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await found(pilot)
        await pilot.press("1")
        assert "share" not in screen_text(app)
        await pilot.press("A")
        await wait_for(pilot, lambda: app._main._shown.audit and app._main._shown.audit.shares)
        await pilot.press("1", "comma")
        assert "share ▼" in screen_text(app)
        assert "%" in screen_text(app)
        await pilot.press("j", "space")
        await wait_for(pilot, lambda: app._main._shown.audit is None)
        await pilot.pause()
        assert "share" not in screen_text(app)


def test_rows_sort_by_share(session: FakeSession) -> None:
    rows = CircuitRows(session.table)
    session._edit(range(0, 40, 3), "x")
    rows.set_circuit(session.view(), whole=True)
    assert "share" not in rows.columns
    assert rows.value((0,), "share") is None
    rows.shares = {0: 0.5, 3: 1.0}
    assert rows.columns[-1] == "share"
    assert rows.value((0, 3), "share") == 1.0
    assert rows.value((6,), "share") == 0.0
