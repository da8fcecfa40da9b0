"""The gradient of the mean logit difference in the mask, by the engine and by the oracle."""

from __future__ import annotations

from functools import cache

import torch
from naive import Naive
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import pack_circuit
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import BoundPack, CircuitSplice, run_spliced


def splices(problem: Problem, batch: Batch, mask: Tensor) -> list[CircuitSplice]:
    """Every candidate at its `mask` `[node]`."""
    packs = pack_circuit(problem, torch.ones(len(problem.space), dtype=torch.bool))
    padded = torch.cat([mask, mask.new_zeros(1)])
    return [
        CircuitSplice(BoundPack.bind(site, index, batch, pack), batch.base[index], padded[pack.nodes])
        for index, (site, pack) in enumerate(zip(problem.sites, packs, strict=True))
    ]


def mean_logit_difference(problem: Problem, mask: Tensor) -> Tensor:
    batches = problem.batches("train")
    runs = [
        run_spliced(problem.model, problem.sites, batch, splices(problem, batch, mask)).result() for batch in batches
    ]
    rows = [batch.logit_difference(logits) for batch, logits in zip(batches, runs, strict=True)]
    return torch.cat(rows).mean()


def naive_mean(naive: Naive, problem: Problem, mask: Tensor) -> Tensor:
    """The mean logit difference by plain hooks, differentiable in `mask` `[node]`."""
    space, names = problem.space, problem.alignment.names

    def at(site: int, name: str) -> Tensor:
        here = (space.site == site) & (space.position == names.index(name))
        return mask.new_zeros(problem.sites[site].sae.d_sae).index_put((space.latent[here],), mask[here])

    rows = []
    for prompt, pair in enumerate(problem.task.split("train")):
        ask = cache(lambda prefix, prompt=prompt: naive.masked("train", prompt, at, prefix))
        right, wrong = (naive.log_probability(pair, which, ask) for which in (0, 1))
        rows.append(right - wrong)
    return torch.stack(rows).mean()


def check_gradient(problem: Problem, naive: Naive, rtol: float = 1e-3, atol: float = 2e-5) -> Tensor:
    """Checks the gradient at a random mask against the oracle's, to `atol` of its largest entry; returns that."""
    mask = random_mask(problem)
    theirs = mask.clone().requires_grad_()
    (expected,) = torch.autograd.grad(naive_mean(naive, problem, theirs), theirs)
    largest = float(expected.abs().max())
    assert largest > 1e-4
    torch.testing.assert_close(gradient(problem, mask), expected, rtol=rtol, atol=atol * largest)
    return expected


def random_mask(problem: Problem) -> Tensor:
    return torch.rand(len(problem.space), generator=torch.Generator().manual_seed(5))


def gradient(problem: Problem, mask: Tensor) -> Tensor:
    mask = mask.clone().requires_grad_()
    (grad,) = torch.autograd.grad(mean_logit_difference(problem, mask), mask)
    return grad
