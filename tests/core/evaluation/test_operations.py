"""How many operations a toggle takes: a GPU is bound by the kernels that it is asked for, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny.made_up_graphs import Operations
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit


@pytest.mark.parametrize("shape", ["gpt2", "gemma2"])
def test_a_toggle_takes_few(tiny_model: Callable[[str], TinyModel], shape: str) -> None:
    problem = open_problem(tiny_model(shape), TASKS["roles"], "each", batch_size=8)
    live = LiveCircuit(Evaluator(problem, "test"), random_circuit(problem, 0.2, 0))
    assert len(live.evaluator.batches) == 1
    most = 0
    for node in live.kept.nonzero()[:4, 0].tolist():
        kept = live.kept.clone()
        kept[node] = False
        with Operations() as operations:
            live.advance_to(kept).result()
        most = max(most, operations.n)
    assert most < 100 * problem.model.n_layers, most
    assert not torch.equal(live.kept, random_circuit(problem, 0.2, 0))
