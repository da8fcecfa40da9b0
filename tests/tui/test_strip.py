"""The strip: the interval, warnings beyond the audit's limits, the audit's verdict, names in place of paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_session import FakeSession
from waiting import edit, ready, screen_text, searched, settled, wait_for

from circuit_tui.core.views import Metrics
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.drawing.line import name_of
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import DARK
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip

Make = Callable[..., ExplorerApp]
STYLES = pane_styles_for(DARK)
GOOD = Metrics(0.96, 0.97, 4.0, 0.01, 1.0, 0.1, (0.0, 0.0), 0.02, (0.921, 0.984))


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=6, search_steps=10)


class Strip(FaithfulnessStrip):
    pane_styles = STYLES  # type: ignore[assignment]


def drawn(session: FakeSession, test: Metrics, width: int = 120, *, size: int = 5, **changes: Any) -> list[Any]:
    """The three lines of a strip about a circuit with these numbers."""
    view = replace(session.view(), test=test, size=size, **changes)
    strip = Strip()
    strip._state = EngineState(phase="ready", table=session.table, info=session.info, circuit=view)
    return strip.build(width)


def style_of(line: Any, text: str) -> Any:
    return next(style for part, style, _ in line if part.startswith(text))


def test_numbers_within_the_limits_have_no_mark(session: FakeSession) -> None:
    _, _, numbers = drawn(session, GOOD)
    assert "!" not in numbers.text
    assert "0.960 0.921–0.984" in numbers.text
    assert "100%" in numbers.text


@pytest.mark.parametrize(
    ("change", "text", "style"),
    [
        ({"faithfulness": 0.85}, "0.850!", STYLES.warn),
        ({"faithfulness": 0.5}, "0.500!", STYLES.bad),
        ({"completeness": -0.3}, "-0.300!", STYLES.warn),
        ({"kl": 1.5}, "1.500!", STYLES.bad),
        ({"accuracy": 0.9}, "90%!", STYLES.warn),
    ],
)
def test_a_number_beyond_a_limit_is_marked_in_its_colour(
    session: FakeSession, change: dict[str, float], text: str, style: Any
) -> None:
    _, _, numbers = drawn(session, replace(GOOD, **change))  # type: ignore[arg-type]
    assert numbers.text.count("!") == 1
    assert style_of(numbers, text).color == style.color


def test_a_faithfulness_under_the_target_is_marked(session: FakeSession) -> None:
    assert "0.940 " in drawn(session, replace(GOOD, faithfulness=0.94))[2].text
    assert "0.940!" in drawn(session, replace(GOOD, faithfulness=0.94), target=0.95)[2].text


def test_the_empty_circuit_is_not_warned_of(session: FakeSession) -> None:
    assert "!" not in drawn(session, replace(GOOD, faithfulness=0.0, kl=3.0), size=0)[2].text


@pytest.mark.parametrize("width", [80, 99, 100, 160])
def test_headings_stand_above_their_numbers(session: FakeSession, width: int) -> None:
    _, names, numbers = drawn(session, GOOD, width)
    for heading, number in (("faithfulness", "0.960"), ("completeness", "0.020"), ("KL", "0.010"), ("nodes", "5 / ")):
        assert names.text.index(heading) == numbers.text.index(number)
    assert ("vs M_s" in names.text) == (width >= 100)


async def test_the_audits_verdict_stands_in_the_top_line(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await searched(pilot)
        session.hold_audit_at = 5
        await pilot.press("A")
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.findings)
        await wait_for(pilot, lambda: "audit: 1/" in screen_text(app) or "audit: 2/" in screen_text(app))
        session.hold_audit_at = None
        await wait_for(pilot, lambda: app.main.shown.audit and app.main.shown.audit.progress is None)
        await settled(pilot)
        outcome = app.main.shown.audit.outcome  # type: ignore[union-attr]
        assert screen_text(app).splitlines()[0].rstrip().endswith(f"audit: {outcome}")
        await edit(pilot, "1", "j", "space")
        await wait_for(pilot, lambda: "audit:" not in screen_text(app).splitlines()[0])


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("gpt2", "gpt2"),
        ("google/gemma-2-2b", "google/gemma-2-2b"),
        ("/data/models/my-gpt2", "my-gpt2"),
        ("./my-gpt2/", "my-gpt2"),
        ("/data/smollm2/model", "smollm2/model"),
        ("~/runs/7/checkpoint", "7/checkpoint"),
        ("/", "/"),
        ("..", ".."),
    ],
)
def test_a_model_is_called_by_its_name(place: str, name: str) -> None:
    assert name_of(place) == name
