"""The engine's numbers beside the oracle's."""

from __future__ import annotations

import torch
from naive import Naive

from circuit_tui.core.evaluate import Evaluator
from circuit_tui.core.metrics import PromptMetrics
from tiny.opened import named, open_naive, random_circuit
from tiny.world import World


def compare(measured: PromptMetrics, naive: Naive, split: str, logits: list[torch.Tensor]) -> None:
    """1e-5 of the logits' scale."""
    scale = max(1.0, max(float(row.abs().max()) for row in logits))
    expected = torch.tensor([naive.measure(split, prompt, row) for prompt, row in enumerate(logits)])
    got = torch.stack([measured.logit_diff, measured.kl, measured.cross_entropy], dim=1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * scale)


def check_everything(world: World, evaluator: Evaluator, seed: int, naive: Naive | None = None) -> None:
    """M, M_s, the empty circuit, random circuits, and M without one."""
    problem, split = evaluator.problem, evaluator.split
    naive = naive or open_naive(world, problem)
    pairs = problem.task.split(split)
    prompts = range(len(pairs))
    compare(evaluator.baselines.plain, naive, split, [naive.plain(pair.clean)[0] for pair in pairs])
    compare(evaluator.baselines.spliced, naive, split, [naive.spliced(split, prompt) for prompt in prompts])
    compare(evaluator.baselines.empty, naive, split, [naive.kept(split, prompt, set()) for prompt in prompts])
    for share in (0.1, 0.6):
        kept = random_circuit(problem, share, seed)
        nodes = named(problem, kept)
        assert 0 < len(nodes) < len(problem.space)
        compare(evaluator.measure(kept), naive, split, [naive.kept(split, prompt, nodes) for prompt in prompts])
    cut = [naive.kept(split, prompt, nodes, invert=True) for prompt in prompts]
    compare(evaluator.measure_removed(kept), naive, split, cut)
