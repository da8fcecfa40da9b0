"""Circuits of the frontier become the current circuit, while the search runs and after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny.searches import QUICK
from tiny.sessions import kept_of

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session


def test_a_point_becomes_the_circuit_and_can_be_taken_back(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("llama-each")
    assert session.searches.frontier() == ()
    session.only([0, 1])
    search = session.search(SearchSpec("mask", 0.8, 0, QUICK["mask"]))
    for _ in search:
        if len(session.searches.frontier()) > 2:
            break
    early = session.searches.frontier()[0]
    session.load_frontier(early.size)
    assert session.view().size == early.size
    assert session.view().last_change == f"frontier: {early.size} nodes"
    for _ in search:
        pass
    test = Evaluator(session.problem, "test")
    for point in session.searches.frontier():
        session.load_frontier(point.size)
        view = session.view()
        assert view.size == point.size
        assert view.test.faithfulness == pytest.approx(test.faithfulness(kept_of(session)).result(), abs=1e-5)
        if point.test is not None:
            assert view.test.faithfulness == pytest.approx(point.test, abs=1e-5)
    assert any(point.test is not None for point in session.searches.frontier())
    while session.view().can_undo:
        session.undo()
    session.redo()
    assert kept_of(session).nonzero()[:, 0].tolist() == [0, 1]


def test_a_size_that_is_not_on_it_is_refused(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("llama-each")
    with pytest.raises(UserError, match="frontier: there is no circuit of 3 nodes on it"):
        session.load_frontier(3)
    for _ in session.search(SearchSpec("mask", 0.8, 0, QUICK["mask"])):
        pass
    with pytest.raises(UserError, match="no circuit of 100000 nodes"):
        session.load_frontier(100_000)
    assert not session.view().can_undo


def test_the_file_says_where_on_the_frontier_it_was(fresh_session: Callable[[str], Session], tmp_path: Path) -> None:
    session = fresh_session("llama-each")
    search = session.search(SearchSpec("mask", 0.8, 5, QUICK["mask"]))
    for _ in search:
        pass
    assert search.result is not None
    small = session.searches.frontier()[0]
    assert small.train < 0.8
    session.load_frontier(small.size)
    assert session.view().dirty
    part = read_circuit(session.export(tmp_path / "small.json")).method
    assert (part.name, part.target, part.reached, part.edited) == ("mask", 0.8, False, False)
    assert part.warnings == (
        "A point of the frontier of a search for 0.80, not the circuit it ended in: faithfulness on the search "
        f"prompts is {small.train:.3f}.",
    )
    session.load_frontier(len(search.result.nodes))
    part = read_circuit(session.export(tmp_path / "found.json")).method
    assert (part.reached, part.warnings) == (search.result.reached, search.result.warnings)
