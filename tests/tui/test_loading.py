"""What is shown while something is loaded: on the screen, and by commands without one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_session import FakeSession, gated_opener, opener
from waiting import loaded, ready, screen_text, shows, wait_for

from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.commands import progress
from circuit_tui.tui.drawing.number_text import download_text

HALF = LoadProgress(
    "downloading google/gemma-2-2b model-00001.safetensors (2 of 9)", 2, 7, 120_000_000, 302_000_000, 12.2
)
UNKNOWN = LoadProgress("downloading gpt2 config.json", 2, 7, 0, 700, None)


def test_bytes_and_time_left() -> None:
    assert download_text(HALF) == "120 MB of 302 MB · 12 s left"
    assert download_text(UNKNOWN) == "0 B of 700 B"
    assert download_text(LoadProgress("importing torch", 0, 7)) == ""


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_a_download_is_shown_with_bytes_and_can_be_cancelled(
    session: FakeSession, explorer: Callable[..., ExplorerApp], size: tuple[int, int]
) -> None:
    gate, left = threading.Event(), []
    plain = opener(session)

    def slow(request: Any, report: Callable[[LoadProgress], None]) -> Any:
        report(HALF)
        gate.wait(60)
        try:
            report(HALF)
        except BaseException as stopped:
            left.append(stopped)
            raise
        return plain(request, report)

    app = explorer(opener=slow)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "120 MB of 302 MB · 12 s left")
        text = screen_text(app)
        assert "step 3 of 7" in text
        assert "downloading google/gemma-2-2b" in text
        assert "(2 of 9)" in " ".join(text.split()), "it may wrap, but is whole"
        assert "q cancels; what has arrived is kept for the next time" in text
        bar = next(line for line in text.splitlines() if "━" in line)
        assert "━" * 44 in bar
        await pilot.press("q")
    gate.set()
    # A download is left early by an exception that a loader cannot take for its own.
    assert app.engine.join(60)
    assert len(left) == 1
    assert not isinstance(left[0], Exception)


async def test_after_a_download_the_session_opens(session: FakeSession, explorer: Callable[..., ExplorerApp]) -> None:
    plain = opener(session)

    def loaded(request: Any, report: Callable[[LoadProgress], None]) -> Any:
        report(HALF)
        report(UNKNOWN)
        return plain(request, report)

    app = explorer(opener=loaded)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)


@pytest.mark.parametrize("key", ["s", "u", "e", "A", "w", "slash"])
async def test_a_key_pressed_while_loading_says_that_it_waits(
    session: FakeSession, explorer: Callable[..., ExplorerApp], key: str
) -> None:
    gate = threading.Event()
    app = explorer(opener=gated_opener(session, gate))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press(key)
        await wait_for(pilot, lambda: any("Still opening" in note.message for note in app._notifications))
        assert app.screen is app.main, "nothing is asked"
        gate.set()
        await ready(pilot)
        assert app.engine.state.search.phase == "none"


def test_without_a_terminal_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    say = progress._Loading(lambda: now[0])
    say(LoadProgress("loading libraries", 0, 7))
    for _ in range(12):
        say(HALF)
        now[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/7] loading libraries"
    assert lines[1].endswith("(2 of 9) · 120 MB of 302 MB · 12 s left")
    assert len(lines) == 1 + 3, "one at once, then one in five seconds"


def test_on_a_terminal_one_line_that_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    say = progress._Loading()
    say(HALF)
    say(HALF)
    say(LoadProgress("loading model", 2, 7))
    written = capsys.readouterr().err
    assert written.count("\r\x1b[K") == 2
    assert written.endswith("\n[3/7] loading model\n")
    assert all(len(part) < 60 for line in written.splitlines() for part in line.split("\x1b[K"))
