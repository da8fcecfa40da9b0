"""Runs one after another: refusals, an end on request, and the time left."""

from __future__ import annotations

import pytest
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.records import record
from tiny.sessions import make_experiment
from tiny.solvable_task import solvable_task

from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runs.comparison import RefusedMethod
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.runs.series import Series
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress


def nothing(search: Search, step: SearchProgress) -> None:
    pass


SPECS = [SearchSpec("random", 0.5, 0, {}).complete(), SearchSpec("activation-difference", 0.5, 0, {}).complete()]


def numbers(found: RunRecord | RefusedMethod) -> object:
    assert isinstance(found, RunRecord)
    return found.spec, found.nodes, found.points, found.test


def test_a_run_in_a_series_is_the_same_as_alone(experiment: Experiment) -> None:
    found = list(Series(experiment, SPECS).run(nothing))
    assert [numbers(each) for each in found] == [numbers(run_one(experiment, spec)) for spec in SPECS]


def test_a_method_that_refuses_is_left_out_and_the_others_go_on(tiny_model) -> None:  # type: ignore[no-untyped-def]
    any_world: TinyModel = tiny_model("gpt2")
    task = solvable_task(any_world, (5, 6, 7, 6), (6, 7), turn=1)
    experiment = make_experiment(open_problem(any_world, task, "shared", errors="keep"))
    specs = [SearchSpec("ig", 0.5, seed, {}).complete() for seed in (0, 1)] + [
        SearchSpec("random", 0.5, 0, {}).complete()
    ]
    refused, done = list(Series(experiment, specs).run(nothing))
    assert isinstance(refused, RefusedMethod)
    assert (refused.task, refused.label) == ("able", "ig")
    assert "unequal token length" in refused.reason
    assert isinstance(done, RunRecord)
    assert done.spec.method == "random"


def test_a_stopped_run_ends_it_and_counts_for_nothing(experiment: Experiment) -> None:
    series, steps = Series(experiment, [*SPECS, *SPECS]), list[int]()

    def stop_in_the_second(search: Search, step: SearchProgress) -> None:
        steps.append(len(series))
        if len(series) == 3:
            search.stop()

    found = list(series.run(stop_in_the_second))
    assert [each.spec for each in found if isinstance(each, RunRecord)] == SPECS[:1]
    assert set(steps) == {4, 3}


def test_the_time_left_is_that_of_runs_like_those_to_come(experiment: Experiment) -> None:
    slow, quick = SearchSpec("published", 0.99, 0, {}).complete(), SearchSpec("random", 0.99, 0, {}).complete()
    series = Series(experiment, [slow, quick, SearchSpec("mask", 0.9, 0, {}).complete()])
    assert series.seconds_left(0.5) is None
    series.done += [record("published", seconds=40), record("published", seconds=60), record("random", seconds=2)]
    # published takes 50 s, half of it is over; random 2 s; mask never ran, so it takes the average of all, 34 s.
    assert series.seconds_left(0.5) == pytest.approx(25 + 2 + 34)
    series.current = slow
    assert series.name == "published · lambda 0.05 · seed 0"
    series.current = quick
    assert series.name == "random · seed 0"
