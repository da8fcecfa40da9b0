"""Incremental passes give what passes over all tokens give, and leave nothing of earlier circuits behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import open_problem, random_circuit
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.evaluation.full_pass import FullPass
from circuit_tui.core.evaluation.incremental_pass import IncrementalPass, can_trace
from circuit_tui.core.evaluation.many_circuits import Circuits
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.splice.problem import Problem

STREAM = "blocks.{}.hook_resid_post"
NORM = (("normalize_activations", "layer_norm"),)
# Neighbouring sites, several blocks between sites, none after the last, and an SAE whose output depends on its input.
WORLDS = {
    "gpt2": (TinySae(STREAM.format(0), "standard"), TinySae(STREAM.format(1), "jumprelu")),
    "llama": (TinySae(STREAM.format(0), "gated"), TinySae(STREAM.format(2), "topk")),
    "gemma2": (TinySae("blocks.0.hook_resid_pre", "jumprelu"), TinySae(STREAM.format(1), "standard")),
    "gemma3": (TinySae(STREAM.format(0), "topk", config=NORM), TinySae(STREAM.format(1), "standard")),
    "neox": (TinySae(STREAM.format(1), "jumprelu"),),
    "qwen3": tuple(TinySae(STREAM.format(layer), "standard") for layer in range(3)),
}
KINDS = (("each", "roles", "mean", "drop"), ("end", "mixed", "zero", "keep"), ("shared", "mixed", "resample", "mean"))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    return cache(lambda shape: build_model_with(shape, tmp_path_factory.mktemp("world"), WORLDS[shape]))


@pytest.fixture(scope="module", params=[(shape, kind) for shape in WORLDS for kind in KINDS], ids=str)
def problem(request: pytest.FixtureRequest, build: Callable[[str], TinyModel]) -> Problem:
    shape, (kind, task, ablation, errors) = request.param
    return open_problem(build(shape), TASKS[task], kind, ablation, errors)


def sparse(problem: Problem, seed: int) -> Tensor:
    """Returns a random circuit at one or two positions."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randperm(problem.n_positions, generator=generator)[: 1 + seed % 2]
    return random_circuit(problem, 0.5, seed) & torch.isin(problem.space.position, positions)


@settings(max_examples=6)
@given(data=st.data())
def test_incremental_passes_give_what_full_passes_give(problem: Problem, data: st.DataObject) -> None:
    batch = problem.batch("test", torch.arange(len(problem.splits["test"])))
    assert can_trace(problem, [batch])
    incremental, full = IncrementalPass(problem, batch), FullPass(problem, batch)
    seeds = st.integers(0, 50)
    start, kept = 0, sparse(problem, data.draw(seeds))
    for _ in range(3):
        with torch.no_grad():
            got, expected = incremental.advance_to(kept, start).result(), full.advance_to(kept, start).result()
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
            for _ in range(2):
                other = kept ^ sparse(problem, data.draw(seeds))
                if torch.equal(other, kept):
                    continue
                got, expected = (
                    incremental.evaluate_alternatives(Circuits(other[None]), kept).result(),
                    full.evaluate_alternatives(Circuits(other[None]), kept).result(),
                )
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        changed = kept ^ sparse(problem, data.draw(seeds))
        start = int(problem.space.site[changed != kept].min()) if not torch.equal(changed, kept) else 0
        kept = changed


def test_the_trace_of_a_circuit_does_not_depend_on_the_way_to_it(problem: Problem) -> None:
    """The logits are equal to the last bit: a search that goes on after a crash must see the same numbers."""
    batch = problem.batch("test", torch.arange(len(problem.splits["test"])))
    first, second, third = sparse(problem, 1), sparse(problem, 2), sparse(problem, 3)
    site = len(problem.sites) - 1
    last = problem.space.site == site
    with torch.no_grad():
        walked, straight = IncrementalPass(problem, batch), IncrementalPass(problem, batch)
        walked.advance_to(first, 0).result()
        walked.advance_to(second, 0).result()
        if not torch.equal(third, second):
            walked.evaluate_alternatives(Circuits(third[None]), second).result()
        mixed = torch.where(last, third, second)
        got = walked.advance_to(mixed, site).result()
        assert torch.equal(got, straight.advance_to(mixed, 0).result())
        other = mixed ^ first
        if first.any():
            got = walked.evaluate_alternatives(Circuits(other[None]), mixed).result()
            assert torch.equal(got, straight.evaluate_alternatives(Circuits(other[None]), mixed).result())


def test_few_tokens_are_run_for_a_change_at_the_last_position(
    tiny_model: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["index"])
    batch = problem.batch("test", torch.arange(len(problem.splits["test"])))
    incremental = IncrementalPass(problem, batch)
    last = problem.space.position == problem.n_positions - 1
    width, widths = batch.prefix.shape[1], list[int]()
    blocks = LanguageModel.run_blocks

    def counted(self: LanguageModel, resid: Tensor, start: int, stop: int, kv_cache: object = None) -> Tensor:
        widths.append(resid.shape[1])
        return blocks(self, resid, start, stop, kv_cache)  # type: ignore[arg-type]

    kept = last.clone()
    with torch.no_grad():
        incremental.advance_to(kept, 0).result()
        monkeypatch.setattr(LanguageModel, "run_blocks", counted)
        without = kept.clone()
        without[int(kept.nonzero()[0, 0])] = False
        incremental.evaluate_alternatives(Circuits(without[None]), kept).result()
    assert widths
    assert max(widths) <= 2 < width


def test_sites_inside_blocks_and_models_that_cannot_run_some_tokens_are_not_traced(
    tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = build_model_with("gpt2", tmp_path_factory.mktemp("inside"), [TinySae("blocks.1.hook_mlp_out", "standard")])
    problem = open_problem(inside, TASKS["index"])
    assert not can_trace(problem, [problem.batch("test", torch.arange(2))])
    problem = open_problem(tiny_model("gpt2"), TASKS["index"])
    batches = [problem.batch("test", torch.arange(2))]
    assert can_trace(problem, batches)
    monkeypatch.setattr("circuit_tui.core.evaluation.incremental_pass.free_memory", lambda device: 1000)
    assert not can_trace(problem, batches)
    monkeypatch.undo()
    monkeypatch.setattr(problem.model, "can_run_subset", False)
    assert not can_trace(problem, batches)
