"""A recorded run says what the search says, and survives being written and read."""

from __future__ import annotations

import pytest
import torch
from tiny.searches import QUICK

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.identity import identity_of
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress


def test_the_record_is_the_search(experiment: Experiment) -> None:
    spec = SearchSpec("mask", 0.8, 3, QUICK["mask"]).complete()
    record = run_one(experiment, spec)
    spec = SearchSpec("mask", 0.8, 3, QUICK["mask"])
    search = open_search(experiment.problem, experiment.train, experiment.test, spec)
    for _ in search:
        pass
    result = search.result
    assert result is not None
    assert [(p.size, p.train, p.test) for p in record.points] == [(p.size, p.train, p.test) for p in result.frontier]
    assert (record.reached, record.stopped, record.steps) == (result.reached, False, result.steps)
    assert record.spec.settings == dict(result.settings)
    space = experiment.problem.space
    own = [(int(space.site[node]), int(space.position[node]), int(space.latent[node])) for node in sorted(result.nodes)]
    assert list(record.nodes) == own
    kept = torch.zeros(len(space), dtype=torch.bool)
    kept[sorted(result.nodes)] = True
    assert record.test.faithfulness == pytest.approx(
        Evaluator(experiment.problem, "test").faithfulness(kept).result(), abs=1e-6
    )
    assert (record.points[-1].size, record.size) == (len(own), len(own))


def test_a_record_survives_being_written_down(experiment: Experiment) -> None:
    record = run_one(experiment, SearchSpec("random", 0.5, 0, {}).complete())
    again = RunRecord.model_validate_json(record.model_dump_json(by_alias=True))
    assert again == record
    assert again.subject == identity_of(experiment)
    assert again.subject.candidates == len(experiment.problem.space)


def test_a_watcher_can_stop_it(experiment: Experiment) -> None:
    seen: list[SearchProgress] = []

    def watch(search: Search, step: SearchProgress) -> None:
        seen.append(step)
        if len(seen) == 3:
            search.stop()

    record = run_one(experiment, SearchSpec("random", 0.95, 0, {}).complete(), watch)
    assert record.stopped
    assert len(seen) == record.steps
    assert {step.stage for step in seen[3:]} <= {"done"}, "nothing but the last evaluation follows"


def test_equal_runs_have_equal_specs() -> None:
    given = SearchSpec("published", 0.95, 0, {"lambda": "0.1"}).complete()
    assert given == SearchSpec("published", 0.95, 0, {"lambda": 0.1, "steps": 408}).complete()
    assert given != SearchSpec("published", 0.95, 1, {"lambda": 0.1}).complete()
    assert given.data() == SearchSpec("published", 0.95, 0, {"lambda": 0.1}).complete().data()


@pytest.mark.parametrize(
    ("method", "target", "seed", "settings", "words"),
    [
        ("maks", 0.9, 0, {}, "--method maks: unknown method.* did you mean mask"),
        ("mask", 1.0, 0, {}, "--target 1: must lie between 0 and 1"),
        ("mask", 0.9, -1, {}, "--seed -1: must lie between 0 and"),
        ("mask", 0.9, 2**63, {}, "--seed 9223372036854775808: must lie between 0 and"),
        ("random", 0.9, 0, {"lambda": 1.0}, "method random has no such setting"),
    ],
)
def test_bad_specs(method: str, target: float, seed: int, settings: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SearchSpec(method, target, seed, settings).complete()
