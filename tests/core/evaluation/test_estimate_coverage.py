"""95% intervals of estimates hold the exact faithfulness in 95% of the cases; `benchmarks/estimates.py` makes more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import estimates
import pytest
import torch

from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.request import OpenRequest

pytestmark = pytest.mark.slow
SEEDS = 16


def check(experiment: Experiment, shares: Sequence[float], method: str | None = None) -> None:
    """Checks random circuits of `shares` of the nodes, and one found by `method`.

    A task has 30 toggles or more, and each estimate a sample of its own: 95% of them hold, less three standard
    deviations of that many draws.
    """
    generator = torch.Generator().manual_seed(0)
    space, test = experiment.problem.space, experiment.test
    circuits = [estimates.random_circuit(space, share, generator) for share in shares]
    if method is not None:
        circuits.append(estimates.found_circuit(experiment, method))
    cases = [case for kept in circuits for case in estimates.toggles(test, kept, generator)]
    assert {case.kind for case in cases} == {"node", "latent", "site"}
    moves = [
        abs(
            test.baselines.faithfulness(case.after.mean_logit_diff)
            - test.baselines.faithfulness(case.before.mean_logit_diff)
        )
        for case in cases
    ]
    assert max(moves) > 0.1, "nothing moves: nothing is estimated"
    for size in (8, 24):
        counts = estimates.coverage(test, cases, size, SEEDS)
        assert counts.made == SEEDS * len(cases)
        bound = 0.95 - 3 * (0.95 * 0.05 / counts.made) ** 0.5
        assert counts.held / counts.made >= bound
        assert counts.shown > counts.made / 2
        assert counts.shown_held / counts.shown >= bound
        assert counts.far / counts.shown <= 0.01


def test_intervals_hold_for_a_found_circuit_of_the_demo() -> None:
    check(open_experiment(OpenRequest(task="code-list", device="cpu")), (), "atp")


def test_intervals_hold_for_large_circuits_of_the_demo() -> None:
    check(open_experiment(OpenRequest(task="pronoun", device="cpu")), (0.5, 0.9))


def test_intervals_hold_on_another_model(stories: Path) -> None:
    folders = tuple(sorted((stories / "saes").iterdir()))
    prompts = stories / "tasks" / "object_recall.jsonl"
    check(
        open_experiment(OpenRequest(str(stories / "model"), sae_dirs=folders, prompts=prompts, device="cpu")),
        (0.5, 0.9),
    )
