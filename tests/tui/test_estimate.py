"""Numbers that first come from a sample: they are marked, and replaced as soon as the exact ones are there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fake_session import ESTIMATE_OFF, FakeSession
from waiting import ready, screen_text, wait_for

from circuit_tui.core.views import StandardErrors
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.widgets.faithfulness_strip import WARNING

Make = Callable[..., ExplorerApp]
NUMBERS = 2  # the row of the strip


def numbers(app: ExplorerApp) -> list[str]:
    """The words in the strip's row of numbers, whether warned of or not: faithfulness, vs M_s, completeness, KL."""
    return screen_text(app).splitlines()[NUMBERS].replace(WARNING, "").split()


async def test_an_estimate_is_marked_and_then_replaced(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        await wait_for(pilot, lambda: "prompts" in session.calls)
        session.slow = threading.Event()
        session.calls.clear()
        await pilot.press("space")
        await wait_for(pilot, lambda: numbers(app)[0].startswith("≈"))
        exact = session.faithfulness(session.kept)
        shown = numbers(app)
        assert shown[0] == f"≈{exact + ESTIMATE_OFF:.3f}±0.012"
        assert shown[1].startswith("≈")
        assert shown[2] == "…"
        assert shown[3].startswith("≈")
        assert "prompts" not in session.calls, "rows of prompts would have to wait for the exact numbers"
        session.slow.set()
        await wait_for(pilot, lambda: numbers(app)[0] == f"{exact:.3f}")
        assert "≈" not in screen_text(app)
        await wait_for(pilot, lambda: "prompts" in session.calls)


async def test_an_estimate_that_may_be_far_off_is_not_shown(explorer: Make, session: FakeSession) -> None:
    session.errors = StandardErrors(faithfulness=None, faithfulness_spliced=None, kl=0.02)
    app = explorer()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        session.slow = threading.Event()
        await pilot.press("space")
        await wait_for(pilot, lambda: numbers(app)[0] == "…")
        exact = session.faithfulness(session.kept)
        shown = numbers(app)
        assert shown[:3] == ["…", "…", "…"]
        assert shown[3].startswith("≈")
        assert shown[-1] == "…", "nor is the change"
        assert f"{exact + ESTIMATE_OFF:.3f}" not in screen_text(app)
        session.slow.set()
        await wait_for(pilot, lambda: numbers(app)[0] == f"{exact:.3f}")
        await wait_for(pilot, lambda: numbers(app)[-1] != "…")


async def test_a_number_that_is_exact_among_estimates_is_not_marked(explorer: Make, session: FakeSession) -> None:
    session.errors = StandardErrors(faithfulness=0.0, faithfulness_spliced=0.0, kl=0.02)
    app = explorer()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        session.slow = threading.Event()
        await pilot.press("space")
        await wait_for(pilot, lambda: numbers(app)[3].startswith("≈"))
        assert numbers(app)[0] == f"{session.faithfulness(session.kept) + ESTIMATE_OFF:.3f}"
        assert "≈" not in numbers(app)[1]
        assert "≈" not in numbers(app)[-1]
        session.slow.set()


async def test_an_estimate_during_a_search_is_replaced_before_its_next_step(
    explorer: Make, session: FakeSession
) -> None:
    session.step_seconds, session.search_steps = 0.002, 100_000
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        session.slow = threading.Event()
        session.slow.set()
        await pilot.press("s", "1")
        await wait_for(pilot, lambda: session.calls.count("step") > 3)
        await pilot.press("space")
        await wait_for(pilot, lambda: "toggle_latent" in session.calls)
        toggled = session.calls.index("toggle_latent")
        await wait_for(pilot, lambda: "work" in session.calls[toggled:])
        assert "step" not in session.calls[toggled : session.calls.index("work", toggled)]
        await wait_for(pilot, lambda: numbers(app)[0] == f"{session.faithfulness(session.kept):.3f}")
        assert app.engine.state.search.phase == "running"
