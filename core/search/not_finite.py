"""Explains why a search ceased to be finite: at which site activations or gradients are not finite."""

from __future__ import annotations

import torch

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.problem import Problem


def explain_not_finite(problem: Problem, train: Evaluator, what: str) -> str:
    """Returns one line: `what` is not finite, at which site that begins, and whether the dtype explains it."""
    where = _where(problem, train)
    dtype = str(problem.model.dtype).removeprefix("torch.")
    if dtype != "float32":
        helps = f"{dtype} cannot hold them; try --dtype float32"
    elif where:
        helps = "the model or its SAE is at fault there: try other sites"
    else:
        helps = "try a smaller lr"
    at = f" at {where}" if where else ""
    return f"the search stopped without a circuit: {what} is not a finite number{at}; {helps}"


def _where(problem: Problem, train: Evaluator) -> str:
    """The site at which numbers cease to be finite with all nodes kept; empty where all are finite."""
    nodes = torch.arange(len(problem.space))
    mask = torch.ones(len(nodes), device=problem.model.device, requires_grad=True)
    masked, batch = MaskedModel(problem, nodes), train.batches[0]
    difference = masked.logit_difference(mask, batch)
    masked.release(batch)
    finite = bool(torch.isfinite(difference).all())
    if finite:
        (gradient,) = torch.autograd.grad(difference.sum(), mask)
        # A gradient runs from the last site to the first: the last site that it spoils is where that begins.
        spoilt = problem.space.site[~torch.isfinite(gradient.cpu())].unique().tolist()
        return f"the gradient of {problem.sites[max(spoilt)].short}" if spoilt else ""
    for index, site in enumerate(problem.sites):
        alone = torch.zeros(len(nodes), device=problem.model.device)
        alone[problem.space.of_site(index)] = 1.0
        with torch.no_grad():
            if not bool(torch.isfinite(masked.logit_difference(alone, batch)).all()):
                masked.release(batch)
                return f"the activations of {site.short}"
    masked.release(batch)
    return "the activations behind the sites"
