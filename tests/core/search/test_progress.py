"""What a search tells while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import islice

import pytest
import torch
from tiny.searches import FinishedSearch, SearchableProblem

from circuit_tui.core.search import progress
from circuit_tui.core.search.registry import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_event_is_whole_and_in_order(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    problem, done = searchable("gemma2-each"), finished_search("gemma2-each", method)
    result, events = done.result, done.steps
    candidates = problem.problem.space.counts(torch.ones(len(problem.problem.space), dtype=torch.bool))
    assert [event.step for event in events] == list(range(1, len(events) + 1))
    assert result.steps == len(events)
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    assert result.seconds >= seconds[-1]
    for event in events:
        assert event.method == method
        assert event.steps >= event.step
        assert sum(event.size_by_site) == event.size
        assert len(event.size_by_site) == len(candidates)
        assert all(0 <= size <= most for size, most in zip(event.size_by_site, candidates, strict=True))
        for number in (event.loss, event.soft, event.hard, event.seconds_left):
            assert number is None or math.isfinite(number)
        assert event.seconds_left is None or event.seconds_left >= 0
    last = events[-1]
    assert last.stage == "done"
    assert (last.size, last.steps, last.seconds_left) == (len(result.nodes), len(events), 0)
    stages = [event.stage for event in events]
    first, rest = {"optimise", "score"}, {"eliminate", "frontier", "done"}
    begun = sum(stage in first for stage in stages)
    assert set(stages[:begun]) <= first
    assert set(stages[begun:]) <= rest
    assert set(stages[stages.index("done") :]) == {"done"}


@pytest.mark.parametrize("method", ["mask", "published"])
def test_optimisation_reports_its_loss_and_its_mask(
    searchable: Callable[[str], SearchableProblem], method: str
) -> None:
    problem = searchable("llama-each")
    search = problem.search(method, 0.8, steps=40)
    optimised = list(islice(search, 40))
    assert {event.stage for event in optimised} == {"optimise"}
    assert next(search).stage != "optimise"
    assert all(event.loss is not None and event.soft is not None for event in optimised)
    assert len({event.loss for event in optimised}) > 30
    assert search.masks.steps == list(range(40))
    assert all(mask.shape == (len(problem.problem.space),) for mask in search.masks.masks)
    assert all(bool(((mask >= 0) & (mask <= 1)).all()) for mask in search.masks.masks)
    assert not torch.equal(search.masks.masks[0], search.masks.masks[-1])


def test_a_long_run_remembers_some_of_its_masks(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "RECORDED_MASKS", 10)
    search = searchable("gpt2").search("published", 0.8, steps=26)
    assert len(list(islice(search, 26))) == 26
    assert search.masks.steps == list(range(0, 26, 2))


def test_events_cannot_be_changed(finished_search: Callable[..., FinishedSearch]) -> None:
    done = finished_search("gemma2-each", "random")
    result, events = done.result, done.steps
    with pytest.raises(FrozenInstanceError):
        events[0].step = 7  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        result.reached = True  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        result.frontier[0].size = 7  # type: ignore[misc]
