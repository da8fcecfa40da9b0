"""The list of latents: filters, matches, jumps, one order over all sites, and columns that arrive later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_session import FakeSession, make_table
from waiting import ready, screen_text, shows, wait_for

from circuit_tui.core.latents.views import LatentColumns, TopTokens
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import CircuitRows, LatentRow, NodeRow, SiteRow
from circuit_tui.tui.widgets.circuit_table import CircuitTable

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


def rows_of(app: ExplorerApp) -> CircuitRows:
    model = app.main.query_one(CircuitTable).model
    assert model is not None
    return model


def latents(rows: CircuitRows) -> list[LatentRow]:
    return [row for row in rows.rows if isinstance(row, LatentRow)]


async def test_terms_filter_and_what_cannot_be_read_is_said(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"push>0.5 site=L1")
        await wait_for(pilot, lambda: rows_of(app).n_listed < len(session.table))
        push = session.latent_columns().push
        assert push is not None
        expected = [
            i for i, value in enumerate(push) if value is not None and value > 0.5 and session.table.site[i] == 1
        ]
        await wait_for(pilot, lambda: list(rows_of(app).listed) == expected)
        await pilot.press(*" max>x")
        await shows(pilot, "filter max>x: 'x' is no number")
        assert list(rows_of(app).listed) == expected, "what can be read still filters"


async def test_f_sorts_all_sites_together(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        rows = rows_of(app)
        await pilot.press("comma")  # the last column
        await wait_for(pilot, lambda: rows.sort == "push")
        await pilot.press("f")
        await wait_for(pilot, lambda: rows.flat)
        assert not [row for row in rows.rows if isinstance(row, SiteRow)]
        values = [rows.value(row.nodes, "push") for row in latents(rows)]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=True)
        assert values == known + [None] * (len(values) - len(known))
        assert len({row.site for row in latents(rows)[:8]}) > 1
        first = latents(rows)[0]
        await pilot.press("g")  # the cursor has stayed on its latent
        await shows(pilot, f"L{first.site}/{first.latent} ")
        await pilot.press("f")
        await wait_for(pilot, lambda: isinstance(rows.rows[0], SiteRow))


async def test_a_jump_goes_to_a_latent_or_to_one_of_its_positions(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        table = app.main.query_one(CircuitTable)
        await pilot.press("colon", *"L2/59", "enter")
        await wait_for(pilot, lambda: isinstance(table.current, LatentRow) and table.current.latent == 59)
        assert table.current is not None
        assert table.current.site == 2
        await pilot.press("colon", *"72@verb", "enter")
        await wait_for(pilot, lambda: isinstance(table.current, NodeRow))
        assert isinstance(table.current, NodeRow)
        assert session._name(table.current.node) == "L2 72@verb"
        await pilot.press("colon", *"L7/1", "enter")
        await wait_for(pilot, lambda: any("name a site" in note.message for note in app._notifications))


async def test_n_goes_through_the_matches_of_a_filter_that_is_gone(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("n")
        await wait_for(pilot, lambda: any(note.message.startswith("No match") for note in app._notifications))
        await pilot.press("slash", *"animals", "enter", "escape", "g")
        rows, table = rows_of(app), app.main.query_one(CircuitTable)
        await wait_for(pilot, lambda: rows.n_listed == len(session.table))
        labelled = [
            i for i, row in enumerate(rows.rows) if isinstance(row, LatentRow) and rows.words(row)[0] == "animals"
        ]
        for key, at in (("n", 0), ("n", 1), ("n", 2), ("N", 1), ("N", 0), ("N", -1), ("n", 0)):
            await pilot.press(key)
            assert table.cursor == labelled[at]


async def test_promoted_tokens_are_found_and_the_list_says_while_some_are_missing(
    explorer: Make, session: FakeSession
) -> None:
    session.tokens_hold = 10
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"boys")
        rows = rows_of(app)
        await shows(pilot, "of promoted tokens searched")
        before = rows.n_listed
        session.tokens_hold = None
        await pilot.press("enter", "space")  # an edit publishes what is known by now
        await wait_for(pilot, lambda: rows.n_listed > before)
        assert "of promoted tokens searched" not in screen_text(app)
        assert all(" boys" in rows.words(row)[1] for row in latents(rows))


def test_an_order_by_what_is_computed_later_settles_when_it_is_there(session: FakeSession) -> None:
    session._edit(range(0, 60, 2), "x")
    rows = CircuitRows(session.table)
    rows.set_circuit(session.view(), whole=True)
    rows.sort, rows.show_all = "effect", False
    rows.rebuild()
    moved = []
    while session.work():
        moved.append(rows.set_circuit(session.view(), whole=False))
    assert moved.count(True) == 1, "rows move once, when all effects are known"
    values = [rows.value(row.nodes, "effect") for row in latents(rows) if row.site == 0]
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


@pytest.mark.parametrize("flat", [True, False])
def test_rows_are_found_again_in_every_order(session: FakeSession, flat: bool) -> None:
    rows = CircuitRows(session.table)
    rows.set_circuit(session.view(), whole=True)
    rows.flat, rows.sort, rows.folded = flat, "max", {1}
    rows.expanded = {(0, 7), (2, 20)}
    rows.rebuild()
    for index, row in enumerate(rows.rows):
        key = (
            row.site,
            *(part for part in (getattr(row, "latent", None), getattr(row, "node", None)) if part is not None),
        )
        assert rows.find(key) == index
    assert len([row for row in rows.rows if isinstance(row, NodeRow)]) == len(
        [n for n in range(len(session.table)) if (session.table.site[n], session.table.latent[n]) in rows.expanded]
    )


def test_a_hundred_thousand_nodes_are_listed_without_making_their_rows() -> None:
    """Every key that changes the list makes only the rows that are seen."""
    table = make_table(latents=12_500)
    assert len(table) > 99_000
    made: list[int] = []
    rows = CircuitRows(table)
    chunk = tuple(
        TopTokens(s, k, (" is", " are"), (" was",)) for s, k in set(zip(table.site, table.latent, strict=True))
    )
    rows.set_latent_columns(LatentColumns((0.5,) * len(table), (chunk,), len(chunk), len(chunk)))
    real = rows._row
    rows._row = lambda code: made.append(code) or real(code)  # type: ignore[method-assign, func-returns-value]
    for change in ({"sort": "push"}, {"filter": "are max>1"}, {"flat": True}, {"filter": "noun"}, {"reverse": True}):
        for name, value in change.items():
            setattr(rows, name, value)
        rows.rebuild()
        assert rows.n_listed
        assert len(rows.rows) > 1000
        made.clear()
        assert rows.rows[:40]
        assert len(made) == 40
