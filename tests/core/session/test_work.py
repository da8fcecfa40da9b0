"""Background numbers, snapshots, searches inside a session, and what counts as unsaved."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny.searches import QUICK
from tiny.sessions import assert_close, kept_of, settle

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session

NAMES = ("gpt2-each", "llama-shared", "gemma2-end")


def assert_effects_are_exact(session: Session) -> None:
    """Checks that an effect is the drop in test faithfulness without the node, for every kept node and no other."""
    view, kept, test = session.view(), kept_of(session), Evaluator(session.problem, "test")
    whole = test.faithfulness(kept).result()
    assert view.effects_done == view.size > 0
    for node, effect in enumerate(view.effect):
        if not kept[node]:
            assert effect is None
            continue
        fewer = kept.clone()
        fewer[node] = False
        assert effect == pytest.approx(whole - test.faithfulness(fewer).result(), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_effects_are_exact_and_follow_the_circuit(fresh_session: Callable[[str], Session], name: str) -> None:
    session = fresh_session(name)
    session.only(range(0, len(session.table), max(1, len(session.table) // 15)))
    early = session.view()
    assert (early.effects_done, set(early.effect)) == (0, {None})
    assert early.train is None
    assert early.test.completeness is None
    done, more = [], True
    while more:
        more = session.work()
        done.append(session.view().effects_done)
    assert done == sorted(done)
    assert set(range(early.size + 1)) <= set(done)
    assert not session.work()
    assert_effects_are_exact(session)
    kept = kept_of(session)
    assert_close(session.view().test, Evaluator(session.problem, "test").evaluate(kept).result())
    train = session.view().train
    assert train is not None
    assert_close(train, Evaluator(session.problem, "train").evaluate(kept).result())
    effects = session.view().effect
    session.toggle_node(next(node for node, on in enumerate(session.view().kept) if on))
    assert (session.view().effects_done, session.view().train) == (0, None)
    settle(session)
    assert_effects_are_exact(session)
    assert session.view().effect != effects


def test_a_change_in_the_midst_of_the_work_starts_it_anew(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    session.only(range(10))
    while not session.view().effects_done:
        assert session.work()
    assert session.view().effects_done < 10
    session.toggle_node(40)
    assert session.view().effects_done == 0
    settle(session)
    assert_effects_are_exact(session)


def test_snapshots_are_compared_and_restored(fresh_session: Callable[[str], Session]) -> None:
    session, test = fresh_session("gpt2-each"), Evaluator(fresh_session("gpt2-each").problem, "test")
    session.only([1, 2, 3])
    session.save_snapshot(" before ")
    then = kept_of(session)
    session.only([3, 4])
    settle(session)
    compared = session.compare("before")
    assert (compared.only_current, compared.only_snapshot, compared.both) == ((4,), (1, 2), 1)
    assert_close(compared.current, test.evaluate(kept_of(session)).result())
    assert_close(compared.snapshot, test.evaluate(then).result())
    session.restore_snapshot("before")
    assert torch.equal(kept_of(session), then)
    session.undo()
    assert kept_of(session).nonzero().flatten().tolist() == [3, 4]
    session.save_snapshot("before")
    session.save_snapshot("other")
    assert session.view().snapshots == ("before", "other")
    assert session.compare("before").only_snapshot == ()


def test_a_search_dropped_half_way_leaves_the_session_untouched(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    session.only([1, 5, 9])
    settle(session)
    before = session.view()
    for method, settings in QUICK.items():
        for steps in (0, 3, 20):
            search = session.search(SearchSpec(method, 0.8, 0, settings))
            assert len(list(islice(search, steps))) == steps
    assert session.view() == before
    session.toggle_node(1)
    fresh_test = Evaluator(session.problem, "test").evaluate(kept_of(session)).result()
    assert_close(session.view().test, fresh_test, without=("completeness",))
    with pytest.raises(UserError, match="--method"):
        session.search(SearchSpec("none", 0.8, 0, {}))


def test_toggles_between_the_steps_of_a_search_change_neither(fresh_session: Callable[[str], Session]) -> None:
    alone, session = fresh_session("gpt2-each"), fresh_session("gpt2-each")
    expected = alone.search(SearchSpec("mask", 0.8, 0, QUICK["mask"]))
    list(expected)
    search = session.search(SearchSpec("mask", 0.8, 0, QUICK["mask"]))
    test = Evaluator(session.problem, "test")
    for step, _ in enumerate(search):
        if step % 25 == 0:
            session.toggle_node(step % len(session.table))
            session.work()
            value = test.faithfulness(kept_of(session)).result()
            assert session.view().test.faithfulness == pytest.approx(value, abs=1e-5)
    assert search.result is not None
    assert expected.result is not None
    assert (search.result.nodes, search.result.train) == (expected.result.nodes, expected.result.train)


def test_what_was_found_is_adopted_and_can_be_taken_back(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("llama-shared")
    session.only([0, 1])
    search = session.search(SearchSpec("mask", 0.8, 0, QUICK["mask"]))
    list(search)
    assert search.result is not None
    session.adopt(search.result)
    view = session.view()
    assert frozenset(kept_of(session).nonzero().flatten().tolist()) == search.result.nodes
    assert view.last_change == "found by mask"
    assert_close(view.test, search.result.test, without=("completeness",))
    assert not session.provenance.edited_since(session.kept)
    session.toggle_node(0)
    assert session.provenance.edited_since(session.kept)
    session.undo()
    assert not session.provenance.edited_since(session.kept)
    session.undo()
    assert kept_of(session).nonzero().flatten().tolist() == [0, 1]


def test_snapshots_that_are_in_no_file_stay_unsaved_when_a_file_is_opened(
    fresh_session: Callable[[str], Session], tmp_path: Path
) -> None:
    session = fresh_session("llama-shared")
    file = session.export(tmp_path / "empty.json")
    session.open_circuit(file)
    assert not session.view().dirty
    session.save_snapshot("one")
    session.open_circuit(file)
    assert session.view().dirty


def test_dirty_means_changed_since_the_last_export(fresh_session: Callable[[str], Session], tmp_path: Path) -> None:
    session, path = fresh_session("llama-shared"), tmp_path / "circuit.json"
    assert not session.view().dirty
    session.toggle_node(0)
    assert session.view().dirty
    assert session.export(path) == path.resolve()
    assert not session.view().dirty
    session.only([0])
    assert not session.view().dirty, "nothing was switched"
    search = session.search(SearchSpec("random", 0.5, 0, {}))
    assert not session.view().dirty
    list(search)
    assert search.result is not None
    session.adopt(search.result)
    assert session.view().dirty
    session.open_circuit(path)
    assert not session.view().dirty
    session.undo()
    assert session.view().dirty
    with pytest.raises(UserError):
        session.export(tmp_path / "nowhere" / "circuit.json")
    assert session.view().dirty
