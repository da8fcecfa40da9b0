"""Edits of the current circuit: what each toggles, how it is taken back, and the numbers after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.sessions import assert_close, kept_of, settle
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.session.session import Session

NAMES = ("gpt2-each", "llama-shared", "gemma2-end")
LATE = ("completeness",)

EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("toggle_node"), st.integers(0, 10**6)),
        st.tuples(st.just("toggle_latent"), st.integers(0, 10**6)),
        st.tuples(st.just("toggle_site"), st.integers(0, 1)),
        st.tuples(st.just("invert"), st.just(0)),
        st.tuples(st.just("only"), st.sets(st.integers(0, 10**6), max_size=5)),
        st.tuples(st.just("undo"), st.just(0)),
        st.tuples(st.just("redo"), st.just(0)),
        st.tuples(st.just("restore_snapshot"), st.just(0)),
    ),
    min_size=1,
    max_size=7,
)


def make(session: Session, edit: tuple[str, Any]) -> None:
    """Makes one drawn edit, with its numbers brought into range; an undo or redo of nothing is left out."""
    name, value = edit
    n, table = len(session.table), session.table
    if name == "toggle_node":
        session.toggle_node(value % n)
    elif name == "toggle_latent":
        session.toggle_latent(table.site[value % n], table.latent[value % n])
    elif name == "toggle_site":
        session.toggle_site(value)
    elif name == "only":
        session.only({number % n for number in value})
    elif name == "restore_snapshot":
        session.restore_snapshot("start")
    elif name == "invert" or getattr(session.view(), f"can_{name}"):
        getattr(session, name)()


def start(fresh_session: Callable[[str], Session], name: str) -> tuple[Session, Tensor]:
    """Returns a session with some nodes kept, and its circuit, which is also a snapshot."""
    session = fresh_session(name)
    chosen = torch.rand(len(session.table), generator=torch.Generator().manual_seed(1)) < 0.3
    session.only(chosen.nonzero()[:, 0].tolist())
    session.save_snapshot("start")
    return session, chosen


@settings(max_examples=12)
@given(edits=EDITS, name=st.sampled_from(NAMES))
def test_after_any_edits_the_numbers_are_those_of_a_fresh_evaluation(
    fresh_session: Callable[[str], Session], edits: list[tuple[str, Any]], name: str
) -> None:
    session, _ = start(fresh_session, name)
    test = Evaluator(session.problem, "test")
    for edit in edits:
        before = session.view()
        make(session, edit)
        view = session.view()
        kept = kept_of(session)
        assert torch.equal(kept, session.kept)
        assert_close(view.test, test.evaluate(kept).result(), without=LATE)
        assert (view.size, view.size_by_site) == (int(kept.sum()), session.problem.space.counts(kept))
        if view.version != before.version:
            assert view.version > before.version
            assert view.delta == pytest.approx(view.test.faithfulness - before.test.faithfulness, abs=1e-6)


@settings(max_examples=12)
@given(edits=EDITS, name=st.sampled_from(NAMES))
def test_undoing_all_is_the_start_and_redoing_all_is_the_end(
    fresh_session: Callable[[str], Session], edits: list[tuple[str, Any]], name: str
) -> None:
    session, chosen = start(fresh_session, name)
    test = session.view().test
    for edit in edits:
        make(session, edit)
    end, seen = kept_of(session), [kept_of(session)]
    while session.view().can_redo:  # the drawn edits may end in undoing
        session.redo()
        end, seen = kept_of(session), [kept_of(session)]
    while session.view().can_undo:
        session.undo()
        seen.append(kept_of(session))
    assert not bool(seen[-1].any())
    assert any(torch.equal(kept, chosen) for kept in seen)
    for expected in seen[-2::-1]:
        session.redo()
        assert torch.equal(kept_of(session), expected)
        if torch.equal(expected, chosen):
            assert_close(session.view().test, test, without=LATE)
    assert torch.equal(kept_of(session), end)
    assert not session.view().can_redo


def test_undo_has_no_limit(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("llama-shared")
    for step in range(300):
        session.toggle_node(step % len(session.table))
    for _ in range(300):
        session.undo()
    assert session.view().size == 0
    assert not session.view().can_undo
    with pytest.raises(UserError, match="nothing to undo"):
        session.undo()


def test_an_edit_forgets_what_was_undone(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    session.toggle_node(1)
    session.undo()
    assert session.view().can_redo
    session.toggle_node(2)
    assert not session.view().can_redo
    with pytest.raises(UserError, match="nothing to redo"):
        session.redo()


@pytest.mark.parametrize("name", NAMES)
def test_toggling_or_inverting_twice_changes_nothing(fresh_session: Callable[[str], Session], name: str) -> None:
    session, chosen = start(fresh_session, name)
    before, latent = session.view(), session.table.latent
    # Toggling twice restores a latent that is kept at no position, but not one that is kept at some.
    off = next(
        (site, number)
        for site, number in zip(session.table.site, latent, strict=True)
        if not bool(chosen[(session.problem.space.site == site) & (session.problem.space.latent == number)].any())
    )
    for edit in (
        lambda: session.toggle_node(3),
        lambda: session.toggle_node(len(session.table) - 1),
        lambda: session.toggle_latent(*off),
        session.invert,
    ):
        edit()
        assert not torch.equal(kept_of(session), chosen)
        edit()
        assert torch.equal(kept_of(session), chosen)
        assert_close(session.view().test, before.test, without=LATE)


def test_a_latent_and_a_site_go_off_if_any_is_on(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    space = session.problem.space
    site, latent = (
        1,
        next(
            number
            for number in space.latent[space.site == 1].tolist()
            if int(((space.site == 1) & (space.latent == number)).sum()) > 2
        ),
    )
    own = (space.site == site) & (space.latent == latent)
    nodes = own.nonzero()[:, 0].tolist()
    short = session.table.sites[site].short
    session.toggle_latent(site, latent)
    assert torch.equal(kept_of(session), own)
    assert session.view().last_change == f"{short} {latent} on"
    session.toggle_node(nodes[0])
    session.toggle_latent(site, latent)
    assert not bool(kept_of(session).any())
    assert session.view().last_change == f"{short} {latent} off"
    session.toggle_node(0)
    session.toggle_site(1)
    assert torch.equal(kept_of(session), (space.site == 1) | (torch.arange(len(space)) == 0))
    session.toggle_node(nodes[0])
    session.toggle_site(1)
    assert kept_of(session).nonzero().flatten().tolist() == [0]
    assert session.view().last_change == f"{short} all off"
    session.only(nodes[:1])
    session.toggle_site(site)
    assert not bool(kept_of(session).any())
    session.toggle_site(site)
    assert kept_of(session).nonzero().flatten().tolist() == nodes[:1], "a second toggle is the identity"
    assert session.view().last_change == f"{short} back on"


def test_what_the_last_change_is_called(fresh_session: Callable[[str], Session]) -> None:
    session, table = fresh_session("gpt2-each"), fresh_session("gpt2-each").table
    name = f"{table.sites[table.site[5]].short} {table.latent[5]}@{table.positions[table.position[5]]}"
    said = []
    session.save_snapshot("empty")
    for edit in (
        lambda: session.toggle_node(5),
        lambda: session.toggle_node(5),
        session.undo,
        session.redo,
        session.invert,
        lambda: session.only([1, 2]),
        lambda: session.restore_snapshot("empty"),
    ):
        edit()
        said.append(session.view().last_change)
    assert said == [
        *(f"{name} on", f"{name} off", f"undo: {name} off", f"redo: {name} off"),
        *("inverted", "only 2 nodes", "snapshot empty"),
    ]


def test_only_keeps_these_and_no_others(fresh_session: Callable[[str], Session]) -> None:
    session, _ = start(fresh_session, "llama-shared")
    session.only([4, 2, 2])
    assert kept_of(session).nonzero().flatten().tolist() == [2, 4]
    session.only([])
    assert session.view().size == 0
    assert session.view().test.faithfulness == pytest.approx(0, abs=1e-6)


def test_an_edit_that_switches_nothing_leaves_everything_known(fresh_session: Callable[[str], Session]) -> None:
    session, chosen = start(fresh_session, "llama-shared")
    settle(session)
    before = session.view()
    session.only(chosen.nonzero()[:, 0].tolist())
    after = session.view()
    assert after.version > before.version
    assert after.delta == 0
    assert (after.effect, after.test, after.train) == (before.effect, before.test, before.train)
    session.undo()
    assert session.view().size == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda session: session.toggle_node(len(session.table)),
        lambda session: session.toggle_node(-1),
        lambda session: session.only([0, len(session.table)]),
        lambda session: session.only([-1]),
        lambda session: session.replace([10**9], "x"),
        lambda session: session.toggle_site(2),
        lambda session: session.toggle_site(-1),
        lambda session: session.toggle_latent(0, 10**6),
        lambda session: session.toggle_latent(7, 0),
        lambda session: session.restore_snapshot("none"),
        lambda session: session.latent_view(0, 24),
        lambda session: session.latent_view(0, -1),
        lambda session: session.latent_view(2, 0),
        lambda session: session.prompt_view(7),
        lambda session: session.prompt_view(-1),
        lambda session: session.compare("none"),
        lambda session: session.save_snapshot("  "),
    ],
)
def test_what_is_out_of_range_is_refused_and_changes_nothing(
    fresh_session: Callable[[str], Session], wrong: Callable[[Session], None]
) -> None:
    session, _ = start(fresh_session, "gpt2-each")
    before = session.view()
    with pytest.raises(UserError):
        wrong(session)
    assert session.view() == before


def test_the_interval_is_that_of_samples_of_the_prompts(fresh_session: Callable[[str], Session]) -> None:
    """Against ratios of means over prompts drawn one sample after the other; the task has no twins."""
    session, kept = start(fresh_session, "gpt2-each")
    session.replace(kept.nonzero()[:, 0].tolist(), "all")
    interval = session.view().test.faithfulness_interval
    evaluator = session.experiment.test
    circuit = evaluator.measure(kept).result().logit_diff.double()
    empty, plain = (part.logit_diff.double() for part in (evaluator.baselines.empty, evaluator.baselines.plain))
    draw, n = torch.Generator().manual_seed(5), len(circuit)
    ratios = []
    for _ in range(3000):
        some = torch.randint(n, (n,), generator=draw)
        ratios.append(float((circuit[some].mean() - empty[some].mean()) / (plain[some].mean() - empty[some].mean())))
    low, high = torch.tensor(ratios).quantile(torch.tensor([0.025, 0.975])).tolist()
    width = high - low
    assert interval == pytest.approx((low, high), abs=0.15 * width + 1e-6)
