"""The try pane: a prompt of one's own, its runs, and the tree of its answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_session import FakeSession
from textual.widgets import Input
from waiting import ready, screen_text, searched, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.widgets.attribution_list import AttributionList
from circuit_tui.tui.widgets.search_form import Field

Make = Callable[..., ExplorerApp]
SIZE = (160, 50)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=12, search_steps=20)


async def ask(pilot, prompt: str, answers: str = "") -> None:  # type: ignore[no-untyped-def]
    """Goes to the pane, types a prompt and runs it."""
    await pilot.press("8")
    await wait_for(pilot, lambda: isinstance(pilot.app.focused, AttributionList))
    await pilot.press("tab")
    await wait_for(pilot, lambda: isinstance(pilot.app.focused, Input))
    assert isinstance(pilot.app.focused.parent, Field)
    assert pilot.app.focused.parent.label == "prompt"
    pilot.app.focused.value = prompt
    if answers:
        await pilot.press("tab")
        pilot.app.focused.value = answers
    await pilot.press("enter")


async def test_a_prompt_runs_and_its_answer_is_taken_apart(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("8")
        await shows(pilot, "Type any prompt above")
        await ask(pilot, "the old cat", "runs / run")
        await shows(pilot, "likeliest next tokens", "logit of runs behind 3:cat", "faithfulness on this prompt 0.750")
        await shows(pilot, "L1/2 at 1 the", "head 1.0", "40 others", "L1 error at 1 the", "75%")
        assert session.calls.count("try") == 1
        assert isinstance(app.focused, AttributionList)


async def test_right_opens_a_latent_and_left_closes_it(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await ask(pilot, "the old cat")
        await shows(pilot, "L1/2 at 1 the")
        await pilot.press("down", "right")
        await shows(pilot, "L0/2 at 1 the")
        await pilot.press("down", "right")
        await shows(pilot, "embedding at 1 the")
        assert session.calls.count("expand") == 2
        await pilot.press("down", "left")  # from a part to the latent that it is of
        cursor = app.screen.query_one(AttributionList)
        assert cursor.cursor == 2
        await pilot.press("left", "left", "left")
        await wait_for(pilot, lambda: "L0/2" not in screen_text(app))
        await pilot.press("right")
        await shows(pilot, "L0/2 at 1 the")
        assert session.calls.count("expand") == 2, "what was taken apart is known"


async def test_the_circuit_runs_again_after_an_edit(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await searched(pilot)
        await ask(pilot, "the old cat")
        await shows(pilot, "L1/2 at 1 the")
        before = session.calls.count("try")
        await pilot.press("u")
        await wait_for(pilot, lambda: session.calls.count("try") == before + 1)


@pytest.mark.parametrize(
    ("prompt", "answers", "says"),
    [
        (" ", "", "the prompt has no words"),
        ("the cat", "runs", "right / wrong"),
        ("the [red]zebra[/", "", "not in the model's vocabulary: zebra"),
    ],
)
async def test_what_cannot_be_tried_is_told_in_one_line(explorer: Make, prompt: str, answers: str, says: str) -> None:
    app = explorer()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await ask(pilot, prompt, answers)
        await wait_for(pilot, lambda: any(says in note.message for note in app._notifications))


async def test_without_positions_the_answer_is_taken_apart_all_the_same(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await ask(pilot, "an odd cat")
        await shows(pilot, "matches no template", "L1/2 at 1 an")
