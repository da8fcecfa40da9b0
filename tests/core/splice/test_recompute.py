"""Gradients without kept activations, the last resort on a full device: the same gradients, in less memory."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny.gradients import gradient, random_mask
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import open_problem
from tiny.saved_for_backward import count_saved_bytes
from tiny.searches import SearchableProblem, run_search, solvable_problem
from tiny.tasks import TASKS

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

# The methods that take gradients of the model.
WITH_GRADIENTS = [method for method in METHODS if method not in ("random", "activation-difference")]


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_the_gradient_is_the_same(tiny_model: Callable[[str], TinyModel], shape: str) -> None:
    problem = open_problem(tiny_model(shape), TASKS["mixed"], "shared", errors="keep", batch_size=3)
    mask = random_mask(problem)
    expected = gradient(problem, mask)
    assert float(expected.abs().max()) > 1e-3
    assert torch.equal(gradient(replace(problem, recompute=True), mask), expected)


def test_the_gradient_is_the_same_past_sites_inside_blocks(tmp_path: Path) -> None:
    """Inside blocks, the hooks are gone when the backward pass begins."""
    saes = [TinySae("blocks.0.hook_mlp_out", "standard"), TinySae("blocks.2.hook_attn_out", "jumprelu")]
    problem = open_problem(build_model_with("gpt2", tmp_path, saes), TASKS["mixed"], "shared")
    mask = random_mask(problem)
    expected = gradient(problem, mask)
    assert float(expected.abs().max()) > 1e-3
    assert torch.equal(gradient(replace(problem, recompute=True), mask), expected)


def kept_in_a_step(problem: Problem, n_prompts: int) -> int:
    """The peak of kept bytes in one step of a mask over all nodes."""
    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    mask = torch.ones(len(problem.space), requires_grad=True)
    with count_saved_bytes(problem) as kept:
        masked.logit_difference(mask, problem.batch("train", torch.arange(n_prompts))).sum().backward()
    return kept.most


def test_less_is_kept(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = solvable_problem(tiny_model("gpt2"), "each")
    whole, recomputed = (kept_in_a_step(replace(problem, recompute=again), 8) for again in (False, True))
    assert recomputed < whole / 2, (recomputed, whole)


@pytest.mark.parametrize("method", WITH_GRADIENTS)
def test_a_search_that_fits_with_no_number_of_prompts_goes_on_without_keeping_activations(
    tiny_model: Callable[[str], TinyModel], caplog: pytest.LogCaptureFixture, tmp_path: Path, method: str
) -> None:
    searched = SearchableProblem.of(solvable_problem(tiny_model("gpt2"), "each"))
    search = searched.search(method, 0.8)
    search.keep(tmp_path)
    room = 10_000  # one prompt takes more, and less than half as much where activations are not kept
    with caplog.at_level(logging.WARNING, "circuit_tui.user"), count_saved_bytes(searched.problem, room):
        for _ in search:
            search.stop()  # the first step shows what the search went on with
    told = [record.getMessage() for record in caplog.records if record.name == "circuit_tui.user"]
    last = f"Out of memory: the search ({method}) goes on without keeping activations for its gradients: slower."
    assert last in told
    assert told.index(f"Out of memory: the search ({method}) goes on with 1 prompt at a time.") < told.index(last)
    assert search.result is not None
    assert "computed activations again" in " ".join(search.result.warnings)
    again = searched.train.faithfulness(searched.circuit(search.result.nodes)).result()
    assert search.result.train.faithfulness == pytest.approx(again, abs=1e-4)


def test_no_gradient_of_a_search_under_several_ablations_keeps_activations(
    tiny_model: Callable[[str], TinyModel],
) -> None:
    searched = SearchableProblem.of(solvable_problem(tiny_model("gpt2"), "each"))
    held = Objective("logit-diff", 0.8), Objective("kl", 0.5)
    spec = SearchSpec("mask", 0.8, 0, {"steps": 2, "batch": 8}, held, ("zero",))
    search = open_search(searched.problem, searched.train, searched.test, spec)
    with count_saved_bytes(searched.problem, room=10_000):
        for step in search:
            if step.stage == "eliminate":  # the first such step is behind a gradient on the probe
                search.stop()
    assert search.result is not None
    assert "computed activations again" in " ".join(search.result.warnings)


def test_a_search_that_never_fits_stops_with_one_line(tiny_model: Callable[[str], TinyModel]) -> None:
    searched = SearchableProblem.of(solvable_problem(tiny_model("gpt2"), "each"))
    search = searched.search("mask", 0.8)
    with (
        count_saved_bytes(searched.problem, room=100),
        pytest.raises(UserError, match="does not fit even with one prompt"),
    ):
        run_search(search)


def test_a_pass_that_ran_out_of_memory_leaves_nothing_behind(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = solvable_problem(tiny_model("gpt2"), "each")
    with count_saved_bytes(problem, room=30_000) as kept:
        for _ in range(2):
            with pytest.raises(torch.OutOfMemoryError):
                gradient(problem, random_mask(problem))
            gc.collect()
            assert kept.bytes == 0
