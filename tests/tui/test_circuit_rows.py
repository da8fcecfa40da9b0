"""Filtering, sorting and expanding, without a screen."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from fake_session import FakeSession, make_table

from circuit_tui.core.views import CircuitView
from circuit_tui.tui.circuit_rows import CircuitRows, LatentRow, NodeRow, SiteRow, row_key


@pytest.fixture
def rows(session: FakeSession) -> CircuitRows:
    rows = CircuitRows(session.table)
    rows.set_circuit(session.view(), whole=True)
    return rows


def view_of(session: FakeSession, nodes: set[int], **changes: object) -> CircuitView:
    session._edit(nodes, "x")
    return replace(session.view(), **changes)


def latents(rows: CircuitRows, site: int) -> list[int]:
    return [row.latent for row in rows.rows if isinstance(row, LatentRow) and row.site == site]


def test_sites_come_in_order_each_with_its_latents(rows: CircuitRows) -> None:
    assert [row.site for row in rows.rows if isinstance(row, SiteRow)] == [0, 1, 2]
    assert latents(rows, 0) == sorted(latents(rows, 0))
    assert sum(len(row.nodes) for row in rows.rows if isinstance(row, LatentRow)) == len(rows.table)


@pytest.mark.parametrize("column", ["clean", "corrupt", "max", "freq"])
def test_numbers_sort_from_the_largest(rows: CircuitRows, column: str) -> None:
    rows.sort = column  # type: ignore[assignment]
    rows.rebuild()
    values = [rows.value(r.nodes, rows.sort) for r in rows.rows if isinstance(r, LatentRow) and r.site == 1]
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]
    rows.reverse = True
    rows.rebuild()
    assert [rows.value(r.nodes, rows.sort) for r in rows.rows if isinstance(r, LatentRow) and r.site == 1] == values[
        ::-1
    ]


def test_unknown_effects_sort_last(rows: CircuitRows, session: FakeSession) -> None:
    effect = [None] * len(rows.table)
    effect[3], effect[9] = 0.5, -0.1  # type: ignore[call-overload]
    rows.set_circuit(view_of(session, {3, 9}, effect=tuple(effect)), whole=True)
    rows.sort = "effect"
    rows.rebuild()
    first = [row for row in rows.rows if isinstance(row, LatentRow)]
    assert 3 in first[0].nodes
    assert 9 in first[1].nodes


def test_labels_sort_by_name_with_the_nameless_last(rows: CircuitRows) -> None:
    rows.sort = "label"
    rows.rebuild()
    labels = [rows.table.label[r.nodes[0]] for r in rows.rows if isinstance(r, LatentRow) and r.site == 0]
    named = [label for label in labels if label]
    assert named == sorted(named)
    assert labels == named + [""] * (len(labels) - len(named))


def test_every_word_of_the_filter_must_match_the_node(rows: CircuitRows) -> None:
    rows.filter = "L1 PLURAL verb"
    rows.rebuild()
    assert rows.listed
    for node in rows.listed:
        assert rows.table.site[node] == 1
        assert rows.table.label[node] == "plural noun"
        assert rows.table.positions[rows.table.position[node]] == "verb"
    assert [row.listed for row in rows.rows if isinstance(row, SiteRow)] == [0, len(rows.listed), 0]


def test_kept_lists_the_circuit_and_keeps_what_is_switched_off_until_asked_anew(
    rows: CircuitRows, session: FakeSession
) -> None:
    rows.set_circuit(view_of(session, {2, 40, 90}), whole=True)
    rows.show_all = False
    rows.rebuild()
    assert rows.listed == (2, 40, 90)
    assert not rows.set_circuit(view_of(session, {2, 90}), whole=False), "no line moves when one is switched off"
    assert rows.listed == (2, 40, 90)
    assert rows.kept((40,)) == 0
    assert rows.set_circuit(view_of(session, {2, 90, 91}), whole=False), "what is switched on gets a line"
    assert rows.listed == (2, 40, 90, 91)
    rows.forget_dropped()
    rows.rebuild()
    assert rows.listed == (2, 90, 91)


def test_a_latent_expands_into_its_positions(rows: CircuitRows) -> None:
    row = next(row for row in rows.rows if isinstance(row, LatentRow) and len(row.nodes) > 1)
    rows.expanded.add((row.site, row.latent))
    rows.rebuild()
    index = rows.find(row_key(row))
    assert index is not None
    below = rows.rows[index + 1 : index + 1 + len(row.nodes)]
    assert [r.node for r in below if isinstance(r, NodeRow)] == list(row.nodes)


def test_find_falls_back_to_what_a_line_belongs_to(rows: CircuitRows) -> None:
    node = 5
    key = (rows.table.site[node], rows.table.latent[node], node)
    assert rows.rows[rows.find(key) or 0] == rows.rows[rows.find(key[:2]) or 0]
    rows.folded.add(0)
    rows.rebuild()
    assert rows.rows[rows.find(key) or 0] == SiteRow(0, rows.rows[0].listed)  # type: ignore[union-attr]


def test_reveal_drops_what_hides_the_node(rows: CircuitRows, session: FakeSession) -> None:
    rows.set_circuit(view_of(session, {2}), whole=True)
    rows.show_all, rows.filter = False, "plural"
    rows.folded.add(1)
    rows.rebuild()
    node = rows.table.site.index(1) + 4
    index = rows.reveal(node)
    assert index is not None
    row = rows.rows[index]
    assert node in (row.nodes if isinstance(row, LatentRow) else (row.node,) if isinstance(row, NodeRow) else ())


def test_twenty_thousand_nodes_sort_and_filter_while_one_types() -> None:
    table = make_table(latents=2500)
    assert len(table) >= 19_999
    rows = CircuitRows(table)
    rows._members = bytes(len(table))
    rows.sort, rows.filter = "max", "noun"
    begin = time.perf_counter()
    rows.rebuild()
    assert rows.listed
    assert time.perf_counter() - begin < 2.0  # a generous limit: it takes some 40 ms
