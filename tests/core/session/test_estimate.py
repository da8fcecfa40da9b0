"""Where an exact evaluation is slow, an edit is answered from a sample first and exactly soon after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel
from tiny.searches import solvable_problem
from tiny.sessions import assert_close, kept_of, make_experiment, settle

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.sampled_estimate import ESTIMATE_WITHIN, EXACT_WITHIN, Pace, sample_size
from circuit_tui.core.session.session import Session
from circuit_tui.core.splice.problem import Problem

N_TEST = 40


class Clock:
    """Each look at it is `tick` seconds after the one before."""

    def __init__(self, tick: float) -> None:
        self.tick, self.now = tick, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture(scope="module")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return solvable_problem(tiny_model("gpt2"), "each", n_test=N_TEST)


def opened(problem: Problem, tick: float) -> Session:
    session = Session(make_experiment(problem), Clock(tick))
    session.only(range(0, len(session.table), 2))
    return session


def assert_exact(session: Session) -> None:
    view = session.view()
    assert not view.estimated
    expected = Evaluator(session.problem, "test").evaluate(kept_of(session)).result()
    assert_close(view.test, expected, without=("completeness",) if view.test.completeness is None else ())


def test_what_is_fast_is_never_estimated(problem: Problem) -> None:
    session = opened(problem, 1e-4)
    settle(session)
    for node in range(6):
        session.toggle_node(node)
        assert_exact(session)


def test_a_slow_toggle_is_estimated_then_exact(problem: Problem) -> None:
    session = opened(problem, 1.0)
    settle(session)
    before, old = session.view().test, kept_of(session)
    session.toggle_node(1)
    view = session.view()
    assert view.estimated
    assert (view.test.completeness, view.train, view.effects_done) == (None, None, 0)
    assert view.standard_errors is not None
    if view.standard_errors.faithfulness is None:
        assert view.delta is None, "a change from an estimate that must not be shown"
    else:
        assert view.delta == pytest.approx(view.test.faithfulness - before.faithfulness)

    # The estimate a second time, from its definition: the regression of the change on the way to the empty circuit.
    new, test = kept_of(session), Evaluator(problem, "test")
    probe = session._numbers._probe
    assert probe is not None
    where = probe.sample.where
    assert 8 <= len(where) <= N_TEST // 2
    assert len(set(where.tolist())) == len(where)
    was, now = test.measure(old).result(), test.measure(new).result()
    change = (now.logit_diff - was.logit_diff)[where].double().numpy()
    way = (test.baselines.empty.logit_diff - was.logit_diff).double().numpy()
    slope, constant = np.polyfit(way[where], change, 1)
    expected = was.mean_logit_diff + constant + slope * way.mean()
    assert view.test.logit_diff == pytest.approx(expected, abs=1e-5)
    assert view.test.faithfulness == pytest.approx(test.baselines.faithfulness(expected), abs=1e-5)
    assert view.test.kl >= 0

    while session.view().estimated:
        assert session.work()
    assert_exact(session)
    exact = session.view()
    assert exact.version == view.version
    assert exact.test.faithfulness != view.test.faithfulness
    assert exact.delta == pytest.approx(exact.test.faithfulness - before.faithfulness)
    settle(session)
    assert_exact(session)


def test_without_a_node_of_known_effect_faithfulness_is_exact_at_once(problem: Problem) -> None:
    session = opened(problem, 1.0)
    settle(session)
    before = session.view()
    nodes = [node for node, effect in enumerate(before.effect) if effect is not None]
    assert len(nodes) == before.size
    strongest = max(nodes, key=lambda node: abs(before.effect[node] or 0.0))
    session.toggle_node(strongest)
    view = session.view()
    assert view.estimated
    assert view.standard_errors is not None
    assert (view.standard_errors.faithfulness, view.standard_errors.faithfulness_spliced) == (0, 0)
    exact = Evaluator(problem, "test").evaluate(kept_of(session)).result()
    for name in ("faithfulness", "faithfulness_spliced", "logit_diff"):
        assert getattr(view.test, name) == pytest.approx(getattr(exact, name), abs=1e-5)
    assert view.delta == pytest.approx(-(before.effect[strongest] or 0.0), abs=1e-5)
    # The effect is that of another circuit now: a second node has none, and neither has one that was switched on.
    for node in (next(node for node in nodes if node != strongest), 1):
        session.toggle_node(node)
        errors = session.view().standard_errors
        assert errors is None or errors.faithfulness != 0


def test_the_first_edit_is_exact_for_there_is_no_sample_yet(problem: Problem) -> None:
    assert_exact(opened(problem, 1.0))


def test_only_edits_that_are_slow_are_estimated(problem: Problem) -> None:
    """A switched node of the last site has fewer blocks behind it than one of the first."""
    session = opened(problem, 1.0)
    settle(session)
    sites, layers = problem.sites, problem.model.n_layers
    blocks = [layers - site.depth + 1 for site in sites]
    assert blocks[0] > blocks[-1]
    per_block = EXACT_WITHIN / (blocks[-1] + 0.5)
    session._numbers._pace = Pace()
    for _ in range(9):
        session._numbers._pace.record(0, per_block)
    session.toggle_node(problem.space.of_site(len(sites) - 1)[0])
    assert not session.view().estimated
    session._numbers._pace = Pace()
    session._numbers._pace.record(0, per_block)
    session.toggle_node(0)
    assert session.view().estimated


def test_views_that_need_exact_numbers_wait_for_them(problem: Problem) -> None:
    session = opened(problem, 1.0)
    session.save_snapshot("then")
    for ask in (session.prompts_view, lambda: session.prompt_view(0), lambda: session.compare("then")):
        settle(session)
        session.toggle_node(0)
        assert session.view().estimated
        ask()
        assert_exact(session)
    measured = Evaluator(problem, "test").measure(kept_of(session)).result()
    rows = session.prompts_view().rows
    got = torch.tensor([row.circuit for row in sorted(rows, key=lambda row: row.index)])
    torch.testing.assert_close(got, measured.logit_diff, rtol=1e-5, atol=1e-5)


@settings(max_examples=12)
@given(edits=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=8))
def test_any_edits_and_interruptions_end_in_exact_numbers(problem: Problem, edits: list[tuple[int, int]]) -> None:
    session = opened(problem, 1.0)
    while session._numbers._probe is None:
        session.work()
    for node, slices in edits:
        if node % 5 == 4 and session.view().can_undo:
            session.undo()
        else:
            session.toggle_node(node % len(session.table))
        for _ in range(slices):
            session.work()
    while session.view().estimated:
        assert session.work()
    assert_exact(session)


def test_the_change_from_a_circuit_without_exact_numbers_is_unknown(problem: Problem) -> None:
    session = opened(problem, 1.0)
    settle(session)
    session.toggle_node(0)
    assert session.view().estimated
    session.toggle_node(1)
    settle(session)
    assert session.view().delta is None
    session.toggle_node(2)
    settle(session)
    assert session.view().delta is not None


def test_no_estimate_is_written_to_a_file(problem: Problem) -> None:
    session = opened(problem, 1.0)
    settle(session)
    session.toggle_node(0)
    assert session.view().estimated
    file = session.circuit_file()
    exact = Evaluator(problem, "test").evaluate(kept_of(session)).result()
    assert file.metrics.test is not None
    assert file.metrics.test.faithfulness == pytest.approx(exact.faithfulness, abs=1e-5)


def test_small_splits_are_never_estimated(tiny_model: Callable[[str], TinyModel]) -> None:
    session = opened(solvable_problem(tiny_model("gpt2"), "each"), 1.0)
    settle(session)
    session.toggle_node(0)
    assert_exact(session)


def test_the_pace_is_that_of_most_evaluations() -> None:
    pace = Pace()
    assert pace.predict(10) == 0
    for seconds in (0.4, 0.4, 9.0, 0.4):
        pace.record(3, seconds)
    assert pace.predict(3) == pytest.approx(0.4)
    assert pace.predict(7) == pytest.approx(0.8)


def test_a_sample_takes_as_long_as_an_estimate_may() -> None:
    assert sample_size(1000, EXACT_WITHIN) is None
    assert sample_size(15, 10.0) is None
    assert sample_size(1000, 0.1) == round(1000 * ESTIMATE_WITHIN / 0.1)
    assert sample_size(1000, 1000.0) == 8
    assert sample_size(16, 0.051) == 8
