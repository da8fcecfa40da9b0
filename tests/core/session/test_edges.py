"""The edges of a session: computed in the background, what is looked at first, and dropped with their circuit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuit_tui.core.circuits.circuit_file import read_circuit, write_circuit
from circuit_tui.core.edges.file_part import find_edges
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session, open_session


@pytest.fixture
def session(solvable_request: Callable[..., OpenRequest]) -> Session:
    opened = open_session(solvable_request("gpt2"))
    nodes = [node for site in (0, 1) for node in opened.problem.space.of_site(site)]
    opened.replace(nodes[:4] + nodes[-4:], "some nodes")
    return opened


def test_what_is_looked_at_comes_first_and_all_edges_follow(session: Session) -> None:
    view = session.edges.begin()
    assert not view.edges
    session.edges.advance()
    while not (view := session.edges.begin()).edges:
        session.edges.advance()
    looked = view.edges[0].source
    session.edges.begin(looked)
    while all(edge.metric is None for edge in view.out_of(looked)):
        assert session.edges.advance()
        view = session.edges.begin(looked)
    assert all(edge.metric is not None for edge in view.out_of(looked)[:5])
    while session.work():
        pass
    assert session.edges.done()
    done = session.edges.view()
    assert done is not None
    assert all(edge.metric is not None for edge in done.edges)
    assert done.nodes_faithfulness == pytest.approx(session.view().test.faithfulness, abs=1e-4)


def test_switching_an_edge_twice_changes_nothing_and_a_node_drops_all(session: Session) -> None:
    with pytest.raises(UserError, match="not computed yet"):
        session.edges.switch(0, 1)
    view = session.edges.begin()
    while not view.edges:
        session.edges.advance()
        view = session.edges.begin()
    strongest = next(view.strongest())
    off = session.edges.switch(strongest.source, strongest.target)
    assert off.faithfulness != pytest.approx(view.nodes_faithfulness, abs=1e-6)
    assert [edge.kept for edge in off.edges].count(False) == 1
    on = session.edges.switch(strongest.source, strongest.target)
    assert on.faithfulness == pytest.approx(view.nodes_faithfulness, abs=1e-5)
    with pytest.raises(UserError, match="no edge from end 0 to end 0"):
        session.edges.switch(0, 0)
    session.toggle_node(int(session.kept.nonzero()[0]))
    assert session.edges.view() is None


def test_the_edges_of_a_file_are_exported_as_long_as_the_circuit_is_the_same(session: Session, tmp_path: Path) -> None:
    file = session.circuit_file()
    assert file.edges is None
    part = find_edges(session.experiment, session.kept, 0.5).result()
    path = write_circuit(file.model_copy(update={"edges": part}), tmp_path / "edges.json")
    session.open_circuit(path)
    assert read_circuit(session.export(tmp_path / "again.json")).edges == part
    session.toggle_node(int(session.kept.nonzero()[0]))
    assert session.circuit_file().edges is None


def test_an_empty_circuit_has_no_edges(session: Session) -> None:
    session.replace([], "nothing")
    with pytest.raises(UserError, match="the circuit is empty, so it has no edges"):
        session.edges.begin()
