"""Compares the engine's numbers with the oracle's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from naive import AnswerPrefix, Naive

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import PromptMetrics
from tiny.opened import named, open_naive, random_circuit
from tiny.world import World

Ask = Callable[[int, AnswerPrefix], torch.Tensor]
"""The oracle's logits of a prompt with so much of an answer behind it."""


def compare(measured: PromptMetrics, naive: Naive, split: str, ask: Ask) -> None:
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


def check_everything(world: World, evaluator: Evaluator, seed: int, naive: Naive | None = None) -> None:
    """Checks M, M_s, the empty circuit, random circuits, and M without one."""
    problem, split = evaluator.problem, evaluator.split
    naive = naive or open_naive(world, problem)
    compare(evaluator.baselines.plain, naive, split, lambda prompt, prefix: naive.unspliced(split, prompt, prefix))
    compare(evaluator.baselines.spliced, naive, split, lambda prompt, prefix: naive.spliced(split, prompt, prefix))
    nothing = cache(lambda prompt, prefix: naive.kept(split, prompt, set(), prefix))
    compare(evaluator.baselines.empty, naive, split, nothing)
    for share in (0.1, 0.6):
        kept = random_circuit(problem, share, seed)
        nodes = named(problem, kept)
        assert 0 < len(nodes) < len(problem.space)
        compare(
            evaluator.measure(kept).result(),
            naive,
            split,
            cache(lambda p, prefix, n=nodes: naive.kept(split, p, n, prefix)),
        )
    cut = cache(lambda prompt, prefix: naive.kept(split, prompt, nodes, prefix, invert=True))
    compare(evaluator.measure_removed(kept).result(), naive, split, cut)
