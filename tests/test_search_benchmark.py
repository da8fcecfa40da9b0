"""What the benchmarks of searches measure: the search's own step, on finite gradients, and only what was a search."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from published import Recipe
from search_step import LONGEST, WARM_UP, NotAStep, SearchStep
from shapes import CARRIED, SHAPES, random_model, random_problem, random_sites, template_tokens
from speed import search_table
from whole_search import run_search, why_no_search

from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.search import Search
from circuit_tui.core.splice.problem import Problem

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def deep() -> Problem:
    """A Gemma 2 as deep as 9B."""
    return random_problem(SHAPES["gemma-2-tiny-deep"], 4, 7, 4)


@pytest.fixture
def searchable() -> Problem:
    shape = SHAPES["gemma-2-tiny"]
    model = random_model(shape, CPU, torch.float32)
    sites = random_sites(model, shape, template_tokens(32, 5, 512), CARRIED)
    return random_problem(shape, 4, 5, 4, model, sites)


def test_gradients_of_random_weights_are_finite_at_any_depth(deep: Problem) -> None:
    assert deep.model.n_layers == 42
    everything = torch.ones(len(deep.space), requires_grad=True)
    masked, batch = MaskedModel(deep, torch.arange(len(everything))), deep.batch("train", torch.arange(4))
    (gradient,) = torch.autograd.grad(masked.logit_difference(everything, batch).sum(), everything)
    sizes = [float(gradient[deep.space.of_site(site)].abs().max()) for site in range(4)]
    assert all(0 < size < 10 for size in sizes), sizes
    recipe = Recipe(deep)
    recipe.step()
    assert all(bool(theta.grad is not None and theta.grad.isfinite().all()) for theta in recipe.thetas)


@pytest.mark.parametrize("active", [None, 50])
def test_the_step_is_that_of_the_search(
    searchable: Problem, active: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[int]()
    forward = MaskedModel.logit_difference

    def counted(self: MaskedModel, *args: object) -> torch.Tensor:
        ran.append(len(self.active))
        return forward(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskedModel, "logit_difference", counted)
    step = SearchStep(searchable, active)
    ran.clear()
    for _ in range(2):  # the second time it begins again, and warms up
        step.prepare(LONGEST)
        before = step.next_step()
        for _ in range(LONGEST):
            step()
        assert step.next_step() - before == LONGEST
        assert ran[-LONGEST:] == [active or len(searchable.space)] * LONGEST
        assert step.active() == (active or len(searchable.space))
    assert len(ran) == 2 * LONGEST + WARM_UP
    assert math.isfinite(step.loss)


def test_a_step_whose_loss_is_not_finite_is_none(searchable: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    step = SearchStep(searchable)
    told = replace(next(step._running), loss=math.nan)
    monkeypatch.setattr(Search, "__next__", lambda self: told)
    with pytest.raises(NotAStep, match="the loss of a step is nan"):
        step()


def test_a_search_that_finds_something_is_one(searchable: Problem) -> None:
    run = run_search(searchable, 30)
    assert run.why_not == ""
    assert 0 < run.found["nodes"] < len(searchable.space) / 2
    assert {"optimise", "eliminate"} <= set(run.stages)


def test_a_search_that_is_not_over_in_time_or_not_finite_says_so(searchable: Problem) -> None:
    assert run_search(searchable, 30, limit=0.0).why_not == "it was not over after 0 s, in the stage optimise"
    searchable.sites[1].sae.sae.W_dec.data.fill_(math.inf)
    run = run_search(searchable, 30)
    assert "not a finite number" in run.why_not
    assert not run.found
    found = {"ours": 1.0, "published": 70.9, "bare": 0.1, "steps": 30, "recipe_steps": 408, "recipe_steps_run": 4}
    (line, *_) = search_table({**found, "stages": {}, "why_not": run.why_not})
    assert run.why_not in line
    assert "70.9" not in line


@pytest.mark.parametrize(
    ("size", "faithfulness", "losses", "diverged", "why"),
    [
        (20, 0.95, [0.5, 0.1], "", ""),
        (20, 0.6, [0.5, 0.1], "", ""),  # the target missed: the time is still that of a search
        (36_749, 0.97, [0.5], "", "it ended with 36749 of 38677 nodes"),
        (0, 0.0, [0.5], "", "it ended with 0 of 38677 nodes"),
        (20, math.nan, [0.5], "", "the faithfulness of its circuit is nan"),
        (20, 0.95, [0.5, math.nan], "", "the loss of step 1 is not finite"),
        (20, 0.95, [], "", "it has not optimised"),
        (20, 0.95, [0.5], "the loss became 1e+05", "its optimisation was cut short, because the loss became 1e+05"),
    ],
)
def test_what_was_no_search_is_refused(
    size: int, faithfulness: float, losses: list[float], diverged: str, why: str
) -> None:
    assert why_no_search(size, 38_677, faithfulness, losses, diverged) == why
