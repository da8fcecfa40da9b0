"""A seed decides what is drawn and so what is found, and the test prompts choose nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.searches import QUICK, FinishedSearch, SearchableProblem, run_search, solvable_problem, with_candidates
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.methods import mask
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import FrontierPoint, Metrics, SearchResult

SEEDED = tuple(name for name, method in METHODS.items() if method.seeded)


def numbers(result: SearchResult) -> tuple[frozenset[int], Metrics, Metrics, tuple[FrontierPoint, ...], int]:
    return result.nodes, result.train, result.test, result.frontier, result.steps


@pytest.fixture(scope="module")
def built_again(tiny_model: Callable[[str], TinyModel]) -> SearchableProblem:
    """The problem "gpt2-each" a second time, sharing nothing but its model with the first."""
    return SearchableProblem.of(solvable_problem(tiny_model("gpt2"), "each"))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_finds_the_same(
    finished_search: Callable[..., FinishedSearch], built_again: SearchableProblem, method: str
) -> None:
    again, _ = run_search(built_again.search(method, 0.8))
    assert numbers(again) == numbers(finished_search("gpt2-each", method).result)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Everything that is drawn from now on by a generator of one's own."""
    found: list[Tensor] = []
    for name in ("rand", "randn", "randperm"):
        real = getattr(torch, name)

        def recorded(*given: Any, real: Any = real, **named: Any) -> Tensor:
            tensor: Tensor = real(*given, **named)
            if named.get("generator") is not None:
                found.append(tensor)
            return tensor

        monkeypatch.setattr(torch, name, recorded)
    return found


@pytest.mark.parametrize("method", SEEDED)
def test_the_seed_decides_what_is_drawn(
    searchable: Callable[[str], SearchableProblem], drawn: list[Tensor], method: str
) -> None:
    """What is found need not differ: where there is one good circuit, any draw leads to it."""
    draws = []
    for seed in (0, 0, 1):
        search = searchable("llama-each").search(method, 0.8, seed)
        drawn.clear()
        for _ in range(3):
            next(search)
        draws.append([tensor.tolist() for tensor in drawn])
    first, again, other = draws
    assert first
    assert again == first
    assert [len(tensor) for tensor in other] == [len(tensor) for tensor in first]
    assert all(one != another for one, another in zip(first, other, strict=True))


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(SEEDED)))
def test_a_method_without_seeds_draws_nothing(
    searchable: Callable[[str], SearchableProblem], drawn: list[Tensor], method: str
) -> None:
    run_search(searchable("llama-each").search(method, 0.8))
    assert not drawn


class Garbage(Evaluator):
    """A test evaluator that answers nonsense, a little different each time."""

    asked = 0

    @incremental
    def measure(self, kept: Tensor) -> Increments[PromptMetrics]:
        measured = yield from super().measure(kept)
        type(self).asked += 1
        measured.logit_diff[:] = float(type(self).asked * 7919 % 13) - 6
        return measured


@pytest.mark.parametrize("method", METHODS)
def test_the_test_prompts_choose_nothing(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    """The search finds none to look at, and what they are evaluated to is nonsense."""
    fair, expected = searchable("gpt2-each"), finished_search("gpt2-each", method).result
    blind = replace(fair.problem, splits={"train": fair.problem.splits["train"]})
    garbled, _ = run_search(SearchableProblem(blind, fair.train, Garbage(fair.problem, "test")).search(method, 0.8))
    assert garbled.nodes == expected.nodes
    assert garbled.train == expected.train
    assert [(p.size, p.train) for p in garbled.frontier] == [(p.size, p.train) for p in expected.frontier]
    assert garbled.test != expected.test


def test_a_search_leaves_what_it_was_given_alone(searchable: Callable[[str], SearchableProblem]) -> None:
    whole = searchable("gpt2").problem
    given = SearchableProblem.of(with_candidates(whole, range(0, len(whole.space), 4)))
    kept = torch.rand(len(given.problem.space), generator=torch.Generator().manual_seed(0)) < 0.4
    before, state = given.train.evaluate(kept).result(), torch.get_rng_state()
    for method, settings in QUICK.items():
        given_settings = dict(settings)
        search = given.search(method, **given_settings)
        run_search(search)
        assert given_settings == settings
    assert given.train.evaluate(kept).result() == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", METHODS)
def test_the_circuit_alone_is_that_of_the_whole_result(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    on, whole = searchable("gpt2-each"), finished_search("gpt2-each", method).result
    alone, _ = run_search(
        Search(on.problem, on.train, on.test, SearchSpec(method, 0.8, 0, QUICK[method]), circuit_only=True)
    )
    assert alone.nodes == whole.nodes
    assert (alone.train, alone.test) == tuple(
        replace(metrics, completeness=None) for metrics in (whole.train, whole.test)
    )
    assert whole.frontier
    assert not alone.frontier


@pytest.mark.parametrize(("few", "size"), [(13, 8), (12, 4)])
def test_a_step_takes_more_prompts_where_there_are_few(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch, few: int, size: int
) -> None:
    for name, value in {"BATCH": 4, "BATCH_OF_FEW": 8, "FEW_PROMPTS": few}.items():
        monkeypatch.setattr(mask, name, value)
    of_twelve = searchable("gpt2-each")
    by_itself, named = ([step.loss for step in islice(of_twelve.search(batch=batch), 4)] for batch in (0, size))
    assert None not in by_itself
    assert by_itself == named
    assert named != [step.loss for step in islice(of_twelve.search(batch=size - 1), 4)]
