"""A session that is stored as JSON and restored into a fresh session goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel
from tiny.searches import SearchableProblem, run_search, solvable_problem
from tiny.sessions import kept_of, make_session

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.identity import differing
from circuit_tui.core.session.session import Session
from circuit_tui.core.splice.problem import Problem

EDITS = ("toggle", "only", "invert", "undo", "redo", "snapshot", "restore")


@pytest.fixture(scope="module")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return solvable_problem(tiny_model("gpt2"), "each")


def edit(session: Session, kind: str, node: int) -> None:
    node %= len(session.table)
    view = session.view()
    if kind == "toggle":
        session.toggle_node(node)
    elif kind == "only":
        session.only({node, 0})
    elif kind == "invert":
        session.invert()
    elif kind == "undo" and view.can_undo:
        session.undo()
    elif kind == "redo" and view.can_redo:
        session.redo()
    elif kind == "snapshot":
        session.save_snapshot(f"s{node % 3}")
    elif kind == "restore" and view.snapshots:
        session.restore_snapshot(view.snapshots[0])


def same(one: Session, other: Session) -> None:
    for name in ("kept", "size", "last_change", "can_undo", "can_redo", "snapshots", "dirty"):
        assert getattr(one.view(), name) == getattr(other.view(), name), name
    assert one.view().test.faithfulness == pytest.approx(other.view().test.faithfulness, abs=1e-6)


@settings(max_examples=12)
@given(st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 10**6)), max_size=12))
def test_everything_comes_back(problem: Problem, edits: list[tuple[str, int]]) -> None:
    session = make_session(problem)
    for kind, node in edits:
        edit(session, kind, node)
    again = make_session(problem)
    again.restore(json.loads(json.dumps(session.state())))
    same(again, session)
    while session.view().can_undo:
        session.undo()
        again.undo()
        assert kept_of(again).equal(kept_of(session))
    while session.view().can_redo:
        session.redo()
        again.redo()
        assert kept_of(again).equal(kept_of(session))
    for name in session.view().snapshots:
        assert session.compare(name).only_snapshot == again.compare(name).only_snapshot


def test_where_a_circuit_came_from_comes_back(problem: Problem) -> None:
    session = make_session(problem)
    result, _ = run_search(SearchableProblem.of(problem).search("random", 0.8))
    session.adopt(result)
    again = make_session(problem)
    again.restore(json.loads(json.dumps(session.state())))
    assert again.provenance.method == "random"
    assert again.provenance.settings == session.provenance.settings
    assert again.provenance.warnings == session.provenance.warnings
    assert again.provenance.nodes is not None
    assert again.provenance.nodes.equal(session.provenance.nodes)
    assert again.view().dirty


@pytest.mark.parametrize("key", ["kept", "done", "snapshots", "found"])
def test_a_damaged_state_is_refused_and_changes_nothing(problem: Problem, key: str) -> None:
    session = make_session(problem)
    session.toggle_node(1)
    state = session.state()
    before = kept_of(session)
    for broken in ({name: value for name, value in state.items() if name != key}, state | {key: [10**9]}):
        with pytest.raises(UserError, match="cannot be restored"):
            session.restore(broken)
        assert kept_of(session).equal(before)


def test_the_fingerprint_tells_what_is_open(problem: Problem, tiny_model: Callable[[str], TinyModel]) -> None:
    session = make_session(problem)
    assert make_session(problem).fingerprint() == session.fingerprint()
    other = make_session(solvable_problem(tiny_model("gpt2"), "each", seed=5))
    assert other.fingerprint() != session.fingerprint()
    assert json.loads(json.dumps(session.fingerprint())) == session.fingerprint(), "it survives a JSON file"


def test_fingerprints_differ_by_token_ids_only_where_both_know_them(problem: Problem) -> None:
    now = make_session(problem).fingerprint()
    assert differing(now, now) == []
    assert differing(now | {"tokens_sha256": "0" * 64}, now) == ["tokens_sha256"]
    before = {name: value for name, value in now.items() if name != "tokens_sha256"}
    assert differing(before, now) == []
    assert differing(before | {"n_train": 1}, now) == ["n_train"]
