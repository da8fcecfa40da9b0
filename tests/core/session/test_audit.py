"""A session's audit: it belongs to one circuit, is put away when that changes, and is kept in the circuit's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import solvable_problem, with_candidates
from tiny.sessions import make_session

from circuit_tui.core.audit.finding import TITLES
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.session.session import Session
from circuit_tui.core.splice.problem import Problem


@pytest.fixture(scope="module")
def able(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return solvable_problem(tiny_model("gpt2"))


@pytest.fixture
def audited(able: Problem) -> Session:
    """A session whose audit has measured some lines of a circuit made by hand."""
    session = make_session(with_candidates(able, list(range(0, len(able.space), 6))))
    session.only([0, 2, 3])
    session.start_audit()
    while True:
        session.work()
        view = session.audit_view()
        if view is not None and len(view.findings) >= 5:
            return session


def test_it_is_background_work_that_comes_last(able: Problem) -> None:
    session = make_session(able)
    session.only([0, 1])
    session.start_audit()
    assert session.view().effects_done == 0
    while session.view().effects_done < 2:
        assert session.work()
    view = session.audit_view()
    assert view is not None
    assert view.findings == ()
    assert view.progress is not None


@pytest.mark.parametrize("full", [False, True])
def test_its_searches_are_quick_unless_it_is_full_and_the_file_says_how(able: Problem, full: bool) -> None:
    session = make_session(with_candidates(able, list(range(0, len(able.space), 6))))
    session.only([0, 2, 3])
    session.start_audit(full=full)
    while not ((view := session.audit_view()) and view.findings):
        session.work()
    part = session.circuit_file().audit
    assert part is not None
    assert view.quick is part.settings.quick is not full
    mask = METHODS["mask"]
    assert dict(part.search.settings) == (mask.parse_settings({}) if full else mask.quick_settings({})).values()


def test_another_circuit_puts_it_away_and_undo_does_not_bring_a_half_one_back(audited: Session) -> None:
    audited.toggle_node(1)
    assert audited.audit_view() is None
    audited.undo()
    assert audited.audit_view() is None
    while audited.work():
        pass
    with pytest.raises(UserError, match="no audit is under way"):
        audited.stop_audit()


def test_it_can_be_stopped_and_what_is_known_stays(audited: Session) -> None:
    audited.stop_audit()
    view = audited.audit_view()
    assert view is not None
    assert view.progress is None
    assert view.outcome in ("not finished", "do not believe")
    assert [finding.key for finding in view.findings] == list(TITLES)[: len(view.findings)]
    while audited.work():
        pass
    assert audited.audit_view() == view
    assert audited.view().dirty


def test_it_goes_into_the_file_and_comes_back_with_it(audited: Session, tmp_path: Path) -> None:
    audited.stop_audit()
    path = audited.export(tmp_path / "c.json")
    part = read_circuit(path).audit
    assert part is not None
    assert len(part.findings) >= 5
    other = make_session(audited.problem)
    assert other.audit_view() is None
    other.open_circuit(path)
    view, before = other.audit_view(), audited.audit_view()
    assert view is not None
    assert before is not None
    assert [(line.key, line.verdict, line.says) for line in view.findings] == [
        (line.key, line.verdict, line.says) for line in before.findings
    ]
    again = read_circuit(other.export(tmp_path / "again.json")).audit
    assert again == part
    other.toggle_node(1)
    assert read_circuit(other.export(tmp_path / "changed.json")).audit is None
    other.undo()
    assert other.audit_view() is not None


def test_an_empty_circuit_is_refused(able: Problem) -> None:
    with pytest.raises(UserError, match="the circuit is empty"):
        make_session(able).start_audit()
