"""Compares the engine's numbers with the oracle's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from naive import AnswerPrefix, Naive

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import PromptMetrics
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_naive, random_circuit

Ask = Callable[[int, AnswerPrefix], torch.Tensor]
"""The oracle's logits of a prompt with so much of an answer behind it."""


def assert_metrics_agree(measured: PromptMetrics, naive: Naive, split: str, ask: Ask) -> None:
    """Compares to 1e-5 of the logits' scale."""
    prompts = range(len(naive.task.split(split)))  # type: ignore[arg-type]
    scale = max(1.0, max(float(ask(prompt, (0, 0)).abs().max()) for prompt in prompts))
    expected = []
    for prompt in prompts:
        if naive.several:
            expected.append(naive.measure_answers(split, prompt, partial(ask, prompt)))
        else:
            expected.append(naive.measure(split, prompt, ask(prompt, (0, 0))))
    got = torch.stack([measured.logit_diff, measured.kl, measured.cross_entropy], dim=1)
    torch.testing.assert_close(got, torch.tensor(expected), rtol=0, atol=1e-5 * scale)


def assert_circuits_agree(tiny_model: TinyModel, evaluator: Evaluator, seed: int, naive: Naive | None = None) -> None:
    """Checks M, M_s, the empty circuit, random circuits, and M without one."""
    problem, split = evaluator.problem, evaluator.split
    naive = naive or open_naive(tiny_model, problem)
    assert_metrics_agree(
        evaluator.baselines.plain, naive, split, lambda prompt, prefix: naive.unspliced(split, prompt, prefix)
    )
    assert_metrics_agree(
        evaluator.baselines.spliced, naive, split, lambda prompt, prefix: naive.spliced(split, prompt, prefix)
    )
    nothing = cache(lambda prompt, prefix: naive.kept(split, prompt, set(), prefix))
    assert_metrics_agree(evaluator.baselines.empty, naive, split, nothing)
    for share in (0.1, 0.6):
        kept = random_circuit(problem, share, seed)
        nodes = names_of_nodes(problem, kept)
        assert 0 < len(nodes) < len(problem.space)
        assert_metrics_agree(
            evaluator.measure(kept).result(),
            naive,
            split,
            cache(lambda p, prefix, n=nodes: naive.kept(split, p, n, prefix)),
        )
    cut = cache(lambda prompt, prefix: naive.kept(split, prompt, nodes, prefix, invert=True))
    assert_metrics_agree(evaluator.measure_removed(kept).result(), naive, split, cut)
