"""Where the panes are: by the size of the terminal, zoomed, with moved splits; what fits in their columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_session import FakeSession
from hypothesis import given
from hypothesis import strategies as st
from waiting import ready, screen_text, searched, settled, wait_for

from circuit_tui.core.views import PromptRow
from circuit_tui.tui.actions import PANES
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_columns import COLUMNS, TEXT_COLUMNS, Column, column_widths
from circuit_tui.tui.drawing.chart import Axis, columns_chart
from circuit_tui.tui.drawing.line import cut_middle
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import DARK
from circuit_tui.tui.widgets.circuit_table import heading
from circuit_tui.tui.widgets.pane_tabs import SHORT
from circuit_tui.tui.widgets.prompt_list import LEAST_TEXT, text_widths
from circuit_tui.tui.widgets.search_form import FieldHelp

Make = Callable[..., ExplorerApp]


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=6, search_steps=10)


def visible(app: ExplorerApp) -> set[str]:
    """The panes that take room on the screen."""
    return {name for name in PANES if app.main.query_one(f"#{name}").region.area and app.main.panes.visible_pane(name)}


@pytest.mark.parametrize(
    ("size", "at_first", "with_prompts"),
    [
        ((80, 24), {"circuit"}, {"prompts"}),
        ((119, 50), {"circuit"}, {"prompts"}),
        ((120, 27), {"circuit", "latent"}, {"prompts"}),
        ((120, 28), {"circuit", "latent", "prompts"}, {"circuit", "latent", "prompts"}),
        ((200, 60), {"circuit", "latent", "prompts"}, {"circuit", "latent", "prompts"}),
    ],
)
async def test_as_many_panes_as_fit(
    explorer: Make, size: tuple[int, int], at_first: set[str], with_prompts: set[str]
) -> None:
    app = explorer()
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        assert visible(app) == at_first
        await pilot.press("3")
        assert visible(app) == with_prompts
        text = screen_text(app)
        assert all(
            f"{key} {name.capitalize()}" in text or f"{key} {SHORT[name]} " in text for name, key in PANES.items()
        )


async def test_a_pane_is_zoomed_and_goes_back(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("5", "z")
        assert visible(app) == {"frontier"}
        assert app.main.query_one("#frontier").region.width == 120
        await pilot.press("2")
        assert visible(app) == {"latent"}
        await pilot.press("z")
        assert visible(app) == {"circuit", "latent", "frontier"}
        assert app.focused is app.main.panes.home("latent")
        await pilot.resize_terminal(80, 24)
        await pilot.press("z")
        assert [notice.message for notice in app._notifications] == ["Each pane has the whole screen already."]


async def test_splits_move_by_keys_and_by_mouse(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        circuit, lower = app.main.query_one("#circuit"), app.main.query_one("#lower")
        width, height = circuit.region.width, circuit.region.height
        await pilot.press("]", "}")
        assert circuit.region.width > width
        assert circuit.region.height > height
        await pilot.press("[", "{")
        assert (circuit.region.width, circuit.region.height) == (width, height)

        await pilot.mouse_down(offset=(circuit.region.right - 1, 10))
        await pilot.hover(offset=(50, 10))
        await pilot.mouse_up(offset=(50, 10))
        assert abs(circuit.region.right - 51) <= 1
        await pilot.mouse_down(offset=(20, circuit.region.bottom - 1))
        await pilot.hover(offset=(20, 12))
        await pilot.mouse_up(offset=(20, 12))
        assert abs(lower.region.y - 13) <= 1
        await pilot.hover(offset=(20, 30))
        assert abs(lower.region.y - 13) <= 1  # the button is up: nothing is dragged
        await pilot.press(*"{" * 30, *"[" * 30)
        assert min(circuit.region.height, circuit.region.width) > 5


async def test_there_is_no_split_on_a_small_screen(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("]")
        await wait_for(pilot, lambda: [n.message for n in app._notifications] == ["There is no split to move here."])


async def test_a_search_is_a_tab_while_it_runs_and_then_a_line(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    session.hold_at = 5
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("5", "1", "s")
        await wait_for(pilot, lambda: app.main.shown.search.trace)
        assert visible(app) == {"circuit", "latent", "search"}
        assert app.focused is app.main.panes.home("circuit")  # the list stays in use
        session.hold_at = None
        await wait_for(pilot, lambda: app.main.shown.search.result)
        assert visible(app) == {"circuit", "latent", "frontier"}
        await settled(pilot)
        line = app.main.panes.search_line
        assert line.region.height == 1
        assert "target 0.95 reached" in screen_text(app).splitlines()[line.region.y]
        await pilot.click(line)
        assert visible(app) == {"circuit", "latent", "search"}
        assert not line.display


async def test_a_search_that_is_looked_at_stays(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        await searched(pilot)
        assert visible(app) == {"circuit", "latent", "search"}


async def test_a_click_on_a_tab_shows_its_pane(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        lower = app.main.query_one("#lower").region
        title = screen_text(app).splitlines()[lower.y]
        await pilot.click(offset=(title.index("5 Frontier") + 3, lower.y))
        await wait_for(pilot, lambda: app.main.panes.current == "frontier")
        assert visible(app) == {"circuit", "latent", "frontier"}


async def test_prompts_have_the_height_until_one_is_chosen(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await settled(pilot)
        pane, prompts = app.main.query_one("#prompts"), app.main.query_one("#prompt-list")
        assert prompts.region.height == pane.region.height - 3  # the frame and the names of the columns
        await pilot.press("enter")
        await settled(pilot)
        nodes = app.main.query_one("#prompt-nodes")
        assert prompts.region.height == pane.region.height - 3
        assert nodes.region.x >= prompts.region.right


async def test_tab_goes_from_the_search_pane_to_the_first_field_and_on(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("4")
        seen = []
        for _ in range(4):
            await pilot.press("tab")
            seen.append(app.focused)
        form = app.main.panes.search.form
        fields = [widget for widget in app.main.focus_chain if form in widget.ancestors]
        assert seen == fields[:4]
        await pilot.press(*["shift+tab"] * 4)
        assert app.focused is app.main.panes.home("search")
        await pilot.press("shift+tab")
        assert app.main.panes.current == "prompts"


# Mouse


async def test_a_click_on_a_heading_sorts(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        heading = app.main.query_one("#circuit-heading")
        for reverse in (False, True, False):
            at = screen_text(app).splitlines()[heading.region.y].index("effect")
            await pilot.click(offset=(at + 2, heading.region.y))
            model = app.main.panes.circuit.table.model
            assert model is not None
            assert (model.sort, model.reverse) == ("effect", reverse)


async def test_a_click_on_the_number_of_a_latent_shows_it_closely(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.click("#circuit-table", offset=(9, 3))
        await wait_for(pilot, lambda: app.main.panes.current == "latent")
        row = app.main.panes.circuit.table.current
        await settled(pilot)
        assert f"L0 {row.latent} " in screen_text(app)  # type: ignore[union-attr]


async def test_a_click_on_a_neighbour_goes_to_it(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=(160, 60)) as pilot:
        await ready(pilot)
        await settled(pilot)
        lines = screen_text(app).splitlines()
        y = next(y for y, line in enumerate(lines) if "nearest" in line) + 1
        x = lines[y - 1].index("nearest")
        neighbour = app.main.shown.latent.neighbours[0][0]  # type: ignore[union-attr]
        assert lines[y][x:].startswith(str(neighbour))
        await pilot.click(offset=(x, y))
        if (0, neighbour) in zip(session.table.site, session.table.latent, strict=True):
            await wait_for(pilot, lambda: app.main.panes.circuit.table.current.latent == neighbour)  # type: ignore[union-attr]
        else:
            await wait_for(pilot, lambda: any(str(neighbour) in note.message for note in app._notifications))


async def test_the_form_says_what_a_field_is_for(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        about = app.main.query_one(FieldHelp)
        await pilot.press("4", "tab", "tab")
        assert " ".join(line.text for line in about._lines) == "target: the faithfulness to reach on the search prompts"
        await pilot.press("tab", "tab")
        assert " ".join(line.text for line in about._lines) == "steps: at most"
        await pilot.press(*["shift+tab"] * 4)
        assert about._lines == []


async def test_without_colour_a_heavy_frame_shows_the_focus(explorer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        for key, name in PANES.items():
            await pilot.press(PANES[key])
            frame = app.main.query_one(f"#{key}").region
            corner = screen_text(app).splitlines()[frame.y][frame.x]
            assert (corner, name) == ("┏", PANES[key])
            assert screen_text(app).count("┏") == 1


# What fits


@given(width=st.integers(20, 220), hidden=st.sets(st.sampled_from(list(COLUMNS))))
def test_columns_fit_and_text_keeps_twelve_cells(width: int, hidden: set[Column]) -> None:
    columns = tuple(column for column in COLUMNS if column == "latent" or column not in hidden)
    widths = column_widths(width, columns)
    assert sum(widths.values()) <= width
    assert all(cells >= (12 if column in TEXT_COLUMNS else len(column) + 2) for column, cells in widths.items())
    dropped = [column for column in columns if column not in widths]
    if "label" in dropped:
        assert not {"max", "freq"} & set(widths)
    for column in dropped:  # no column has gone while a less important one stays
        assert all(COLUMNS[kept].rank < COLUMNS[column].rank for kept in widths)


@pytest.mark.parametrize("sort", list(COLUMNS))
def test_headings_do_not_touch(sort: Column) -> None:
    for width in range(40, 160):
        text = heading(column_widths(width, tuple(COLUMNS)), sort, False, pane_styles_for(DARK)).text
        shown = list(column_widths(width, tuple(COLUMNS)))
        assert [word.rstrip("▲▼") for word in text.split()] == shown
        assert text.count("▲") + text.count("▼") == (sort in shown)


@given(text=st.text(min_size=1, max_size=40), width=st.integers(3, 40))
def test_a_text_is_cut_in_its_middle(text: str, width: int) -> None:
    from rich.cells import cell_len

    shown = cut_middle(text, width)
    assert cell_len(shown) <= width
    if cell_len(text) > width:
        before, _, after = shown.partition("…")
        assert text.startswith(before) or "…" in text
        assert text.endswith(after)


def test_both_ends_of_a_cut_prompt_are_seen() -> None:
    assert cut_middle(">>> message = 'architecture'", 15) == ">>> mes…ecture'"


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=40), width=st.integers(1, 60))
def test_a_histogram_is_never_clipped(counts: list[int], width: int) -> None:
    lines = columns_chart(counts, width, 3, pane_styles_for(DARK).plain)
    if not any(counts):
        assert not lines
        return
    assert all(line.cell_length <= width for line in lines)
    shown = lines[-1].text
    at = max(i for i, count in enumerate(counts) if count)
    # The last bar that is not empty stands where its count is on the axis.
    last = max(i for i, letter in enumerate(shown) if letter != " ")
    assert int(last / len(shown) * len(counts)) >= at - max(1, len(counts) // len(shown))
    assert last / len(shown) <= (at + 1) / len(counts) + 1 / len(shown) * max(1, len(shown) // len(counts))


def test_neighbouring_counts_are_added_where_there_is_no_room() -> None:
    style = pane_styles_for(DARK).plain
    wide = columns_chart([2, 4, 8, 0], 2, 1, style)[0].text
    assert wide == columns_chart([6, 8], 2, 1, style)[0].text


def test_zero_has_no_sign_on_an_axis() -> None:
    assert Axis(-0.04, 1.0, "{:.1f}").label(-0.04) == "0.0"
    assert Axis(-0.06, 1.0, "{:.1f}").label(-0.06) == "-0.1"


@pytest.mark.parametrize("answer", [" is", " an answer of very many words that nobody would expect to be asked for"])
@pytest.mark.parametrize("width", [78, 118, 200])
def test_prompts_and_answers_have_a_column_each(answer: str, width: int) -> None:
    row = PromptRow(0, "a prompt", answer, " are", 1.0, 1.0, 1.0)
    text, answers = text_widths([row], width)
    assert text >= max(LEAST_TEXT, answers)
    assert answers >= LEAST_TEXT
