"""The tables of a session, and the intervals of its frontier."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny.sessions import settle

from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.output_file import ForeignFileError
from circuit_tui.core.outputs.table import Table
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.listed_latents import listed_latents
from circuit_tui.core.session.session import Session
from circuit_tui.core.session.table_request import FrontierTable, LatentsTable, LatentTable
from circuit_tui.core.session.tables import export_table, table_of


@pytest.fixture(scope="module")
def searched(fresh_session: Callable[[str], Session]) -> Session:
    session = fresh_session("gpt2-each")
    session.adopt(_result(session))
    settle(session)
    return session


def _result(session: Session):  # type: ignore[no-untyped-def]
    search = session.search(SearchSpec("atp", target=0.6, seed=0))
    for _ in search:
        pass
    assert search.result is not None
    return search.result


def rows(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_the_list_has_the_numbers_of_the_list(searched: Session) -> None:
    wanted = LatentsTable("on", "effect", everything=True, by_site=False)
    listed = listed_latents(searched, "on", "effect", everything=True)
    got = rows(table_of(searched, wanted))
    assert len(listed) == len(got) > 1
    for row, latent in zip(got, listed, strict=True):
        assert (row["site"], row["latent"], row["effect"]) == (latent.site, latent.latent, latent.effect)
        assert row["promotes"] == " ".join(latent.promotes)


def test_a_card_has_every_part_of_a_latent(searched: Session) -> None:
    table = searched.table
    view = searched.latent_view(table.site[0], table.latent[0])
    got = rows(table_of(searched, LatentTable(table.site[0], table.latent[0])))
    assert [(row["name"], row["value"], row["corrupt"]) for row in got if row["part"] == "position"] == [*view.profile]
    assert [(row["name"], row["value"]) for row in got if row["part"] == "promotes"] == [*view.promotes]
    assert sum(str(row["part"]).endswith("prompt") for row in got) == sum(len(band.examples) for band in view.bands)


def test_intervals_are_those_of_the_circuits_as_they_are_loaded(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    with pytest.raises(UserError, match="none before a search"):
        session.searches.ask_intervals()
    session.adopt(_result(session))
    settle(session)
    before = rows(table_of(session, FrontierTable()))
    assert {row["test_low"] for row in before} == {None}
    session.searches.ask_intervals()
    assert not session.searches.done
    settle(session)
    got = {row["size"]: (row["test_low"], row["test_high"]) for row in rows(table_of(session, FrontierTable()))}
    tested = [point for point in session.searches.frontier() if point.test is not None]
    assert {point.size for point in tested} == set(session.searches.intervals())
    for point in tested[:: max(1, len(tested) // 3)]:
        session.load_frontier(point.size)
        assert got[point.size] == pytest.approx(session.view().test.faithfulness_interval, abs=1e-6)
        assert session.view().test.faithfulness == pytest.approx(point.test, abs=1e-5)
    session.search(SearchSpec("atp", target=0.5, seed=0))
    assert session.searches.intervals() == {}
    with pytest.raises(UserError, match="when the search has ended"):
        session.searches.ask_intervals()


def test_a_search_is_noted_once(searched: Session) -> None:
    (only,) = searched.searches.past
    searched.adopt(only)
    assert searched.searches.past == (only,)
    assert searched.provenance.target == only.target


def test_a_table_is_written_by_the_rule_for_files(searched: Session, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    assert export_table(searched, LatentsTable(), path) == path
    export_table(searched, FrontierTable(), path)
    with path.open() as stream:
        read = list(csv.DictReader(stream))
    assert [int(row["size"]) for row in read] == [point.size for point in searched.searches.frontier()]
    path.write_text("mine")
    with pytest.raises(ForeignFileError):
        export_table(searched, LatentsTable(), path)
    assert path.read_text() == "mine"
    export_table(searched, LatentsTable(), path, force=True)
    for name in ("list.json", "missing/list.csv"):
        with pytest.raises(UserError):
            export_table(searched, LatentsTable(), tmp_path / name)
