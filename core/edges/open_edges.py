"""Opens a circuit's edges: refuses what has none, and runs the circuit on the prompts."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.ends import EdgeSpace, edge_space
from circuit_tui.core.edges.prompts import edge_prompts, mean_embeddings
from circuit_tui.core.edges.site_nodes import SiteNodes
from circuit_tui.core.errors import UserError
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split


def open_passes(
    problem: Problem, kept: Tensor, split: Split = "test", prompts: Tensor | None = None
) -> tuple[EdgeSpace, list[CircuitPass]]:
    """Returns the edges that the circuit `kept` `[node]` bool can have, and its passes on the prompts of a split.

    `prompts` `[prompt]` are indices of some of them.

    Raises:
        UserError: the model is not in float32 or padded on the left, the circuit is empty, or an SAE has no
            pre-activations.
    """
    check_supported(problem)
    if not bool(kept.any()):
        raise UserError("the circuit is empty, so it has no edges")
    space = edge_space(problem, kept)
    nodes = []
    for site, each in enumerate(problem.sites):
        latents = [space.ends[end].latent for end in space.latents_of(site)]
        nodes.append(SiteNodes.of(each.sae, torch.tensor(latents, dtype=torch.long, device=problem.model.device)))
    means = mean_embeddings(problem)
    return space, [CircuitPass(problem, space, nodes, part) for part in edge_prompts(problem, split, prompts, means)]


def check_supported(problem: Problem) -> None:
    """Raises UserError where edges cannot be computed on `problem`."""
    model = problem.model
    if model.dtype != torch.float32:
        dtype = str(model.dtype).removeprefix("torch.")
        raise UserError(
            f"--dtype {dtype}: edges need float32, in which small ones are right; open with --dtype float32"
        )
    if model.padding_side == "left":
        raise UserError("--padding left: edges are computed on rows padded on the right")
