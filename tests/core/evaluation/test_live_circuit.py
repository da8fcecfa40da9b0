"""A live circuit gives, through any changes, what a fresh evaluation gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.choices import PaddingKind
from circuit_tui.core.evaluation.evaluator import Evaluator, circuit_splice, pack_site
from circuit_tui.core.evaluation.full_pass import FullPass
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Incremental


@pytest.fixture(scope="module", params=["gpt2-each", "llama-shared", "gemma2-end"])
def evaluator(request: pytest.FixtureRequest, tiny_model: Callable[[str], TinyModel]) -> Evaluator:
    shape, kind = request.param.split("-")
    task = TASKS["roles" if kind == "each" else "mixed"]
    return Evaluator(open_problem(tiny_model(shape), task, kind, errors="mean", batch_size=2), "test")


def same(got: PromptMetrics, expected: PromptMetrics) -> None:
    for name in ("logit_diff", "kl", "cross_entropy"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), rtol=1e-5, atol=1e-5)


@settings(max_examples=12)
@given(data=st.data())
def test_any_sequence_of_changes_equals_a_fresh_evaluation(evaluator: Evaluator, data: st.DataObject) -> None:
    space = evaluator.problem.space
    kept = random_circuit(evaluator.problem, 0.5, data.draw(st.integers(0, 99)))
    live = LiveCircuit(evaluator, kept)
    node = st.integers(0, len(space) - 1)
    change = st.one_of(
        st.lists(node, min_size=1, max_size=3),
        st.sampled_from([list(space.of_site(site)) for site in range(len(evaluator.problem.sites))]),
        st.just(list(range(len(space)))),
        st.just([]),
    )
    for nodes in data.draw(st.lists(change, min_size=1, max_size=4)):
        kept = kept.clone()
        kept[nodes] = ~kept[nodes]
        live.advance_to(kept).result()
        assert torch.equal(live.kept, kept)
        same(live.measured, evaluator.measure(kept).result())


def test_without_one_node_equals_a_fresh_evaluation_without_it(evaluator: Evaluator) -> None:
    space = evaluator.problem.space
    kept = random_circuit(evaluator.problem, 0.4, 3)
    live = LiveCircuit(evaluator, kept)
    before = live.measured
    moved = 0.0
    for site in range(len(evaluator.problem.sites)):
        nodes = [node for node in space.of_site(site) if kept[node]][:: max(1, len(space) // 30)]
        assert nodes
        for node in nodes:
            fewer = kept.clone()
            fewer[node] = False
            expected = evaluator.measure(fewer).result().mean_logit_diff
            assert live.evaluate_first_toggled([node]).result()[0] == pytest.approx(expected, abs=1e-5)
            moved = max(moved, abs(expected - before.mean_logit_diff))
    assert moved > 1e-3
    assert live.measured is before
    assert torch.equal(live.kept, kept)
    # The cached inputs of the sites are still those of the circuit.
    live.advance_to(torch.zeros_like(kept)).result()
    live.advance_to(kept).result()
    same(live.measured, before)


def test_every_site_is_an_increment_and_gradients_stay_on(evaluator: Evaluator) -> None:
    kept = random_circuit(evaluator.problem, 0.4, 3)
    live = LiveCircuit(evaluator, kept)
    space, n_sites, n_batches = evaluator.problem.space, len(evaluator.problem.sites), len(evaluator.batches)
    kinds: list[tuple[Incremental[Any], int]] = [
        (evaluator.evaluate(kept), 2 * n_sites * n_batches),
        *(
            (live.evaluate_first_toggled([int(space.kept_of_site(kept, site)[0])]), (n_sites - site) * n_batches)
            for site in range(n_sites)
        ),
    ]
    for computation, expected in kinds:
        count = 0
        for _ in computation:
            assert torch.is_grad_enabled()
            count += 1
        assert count == expected


def test_a_later_change_of_the_given_tensor_changes_nothing(evaluator: Evaluator) -> None:
    kept = random_circuit(evaluator.problem, 0.4, 3)
    live = LiveCircuit(evaluator, kept)
    kept[:] = False
    assert bool(live.kept.any())


def test_how_far_a_change_moves_each_prompt_is_the_difference_of_two_splices(evaluator: Evaluator) -> None:
    """The sites' outputs of both circuits, each from the whole splice, for the input that the first circuit gives."""
    problem = evaluator.problem
    kept = random_circuit(problem, 0.4, 5)
    live = LiveCircuit(evaluator, kept)
    for seed, share in ((1, 0.02), (2, 0.3)):
        changed = kept ^ random_circuit(problem, share, seed)
        expected = torch.zeros(len(evaluator), dtype=torch.float64)
        for batch in evaluator.batches:
            whole = FullPass(problem, batch)
            whole.advance_to(kept, 0).result()
            for index in range(len(problem.sites)):
                x = whole.sae_input(index)
                still = x.new_zeros(*x.shape[:2], problem.sites[index].sae.d_out)
                one, other = (
                    circuit_splice(problem, batch, index, pack_site(problem, nodes, index))(x, still)
                    for nodes in (kept, changed)
                )
                expected[batch.prompts] += (one - other).double().norm(dim=-1).sum(-1)
        sizes = live.change_sizes(changed)
        assert sizes is not None
        torch.testing.assert_close(sizes, expected, rtol=1e-4, atol=1e-4)
        assert bool((sizes > 1e-3).any())
        same(live.measured, evaluator.measure(kept).result())


def test_where_a_change_moves_nothing_the_numbers_stay(evaluator: Evaluator) -> None:
    problem, kept = evaluator.problem, random_circuit(evaluator.problem, 0.5, 6)
    live, still = LiveCircuit(evaluator, kept), 0
    for node in range(0, len(problem.space), 7):
        live.advance_to(kept).result()
        before, other = live.measured, kept.clone()
        other[node] = ~other[node]
        sizes = live.change_sizes(other)
        assert sizes is not None
        live.advance_to(other).result()
        where = sizes == 0
        still += int(where.sum())
        torch.testing.assert_close(live.measured.logit_diff[where], before.logit_diff[where], rtol=1e-5, atol=1e-5)
    assert still or problem.alignment.kind == "shared"


def test_between_two_circuits_no_size_is_known(evaluator: Evaluator) -> None:
    kept = random_circuit(evaluator.problem, 0.5, 6)
    live = LiveCircuit(evaluator, kept)
    assert live.change_sizes(~kept) is not None
    next(live.advance_to(~kept))
    assert live.change_sizes(kept) is None


@pytest.mark.parametrize("side", ["right", "left"])
def test_prompts_of_a_length_that_has_not_run_yet(tmp_path: Path, side: PaddingKind) -> None:
    """What blocks are called with is recorded in a plain pass, which no splice and no filter may see."""
    saes = [TinySae("blocks.1.hook_mlp_out", "standard"), TinySae("blocks.2.hook_resid_post", "jumprelu")]
    made = build_model_with("gpt2", tmp_path, saes)
    problem = open_problem(made, TASKS["roles"], "each", batch_size=2)
    made.model.padding_side = side
    kept = random_circuit(problem, 0.5, 1)
    expected = Evaluator(problem, "test").measure(kept).result()
    for sites in (problem.sites, problem.sites[1:]):
        part = problem if sites == problem.sites else open_problem(replace(made, sites=sites), TASKS["roles"], "each")
        some = random_circuit(part, 0.5, 1)
        known = Evaluator(part, "test").measure(some).result()
        evaluator = Evaluator(part, "test", prepared=False)
        for recorded in (made.model.recordings.right_padded, made.model.recordings.left_padded):
            recorded.clear()
        evaluator.prepare().result()
        for recorded in (made.model.recordings.right_padded, made.model.recordings.left_padded):
            recorded.clear()
        same(LiveCircuit(evaluator, some).measured, known)
    same(Evaluator(problem, "test").measure(kept).result(), expected)
