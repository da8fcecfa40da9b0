"""A live circuit gives, through any changes, what a fresh evaluation gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.evaluation.evaluator import Evaluator
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
            assert live.evaluate_without(node).result() == pytest.approx(expected, abs=1e-5)
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
            (live.evaluate_without(int(space.kept_of_site(kept, site)[0])), (n_sites - site) * n_batches)
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
