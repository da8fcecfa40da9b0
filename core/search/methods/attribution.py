"""What the attributions share: the two ends of their path, a splice with given activations, sums over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.hook_patch import sae_input
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import FullSplice

PROMPTS_AT_ONCE = 32


def batches_of_pairs(problem: Problem, method: str) -> list[Batch]:
    """The train prompts in batches, each token with its twin at the same place of the corrupt prompt.

    Raises:
        UserError: a pair is of unequal token length.
    """
    prompts = problem.prompt_sets["train"]
    if not torch.equal(prompts.clean.lengths, prompts.corrupt.lengths):
        raise UserError(
            f"--method {method}: task {problem.task.name} has pairs of unequal token length; use another method"
        )
    return problem.batches("train", size=min(PROMPTS_AT_ONCE, problem.batch_size or PROMPTS_AT_ONCE))


@dataclass(frozen=True, slots=True)
class Ends:
    """A batch at each site: what its SAE reads on the clean and the corrupt prompts, and the clean SAE errors.

    Each entry `[row, position, d_in]`, an error `[row, position, d_out]`, or None where it is dropped. `inputs`
    are the residuals that enter the site's stop on the clean prompts, `[row, position, d_model]`.
    """

    clean: tuple[Tensor, ...]
    corrupt: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    errors: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, problem: Problem, batch: Batch, keep_errors: bool) -> Ends:
        """The ends under M_s as the problem defines it or, with `keep_errors`, under M: every error added back.

        With the errors of its own prompt added back, a splice changes nothing: that is the model with SAEs and error
        nodes of Marks et al. (2024).
        """
        width = batch.prefix.shape[1]

        def own(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor[batch.rows, :width] for tensor in tensors)

        if not keep_errors:
            clean, corrupt = own(problem.spliced_sae_inputs), own(problem.spliced_corrupt_sae_inputs)
            return cls(clean, corrupt, own(problem.spliced_resids), batch.errors)
        runner, sites = runner_for(problem.model, batch.lengths), problem.sites
        inputs = _plain_inputs(runner, sites, batch.prefix)
        other = _plain_inputs(runner, sites, own(problem.spliced_corrupt_resids[:1])[0])
        with torch.no_grad():
            there = [_arriving(runner, sites, resids) for resids in (inputs, other)]
            errors = tuple(
                out.float() - site.sae.rebuild(site.sae.encode(x), x)
                for site, (x, out) in zip(sites, there[0], strict=True)
            )
        return cls(tuple(x for x, _ in there[0]), tuple(x for x, _ in there[1]), inputs, errors)


def _arriving(runner: BlockRunner, sites: Sequence[Site], resids: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """What is read and what is there at each site under M, of the residuals entering each."""
    return [sae_input(runner, [site], resid) for site, resid in zip(sites, resids, strict=True)]


@torch.no_grad()
def _plain_inputs(runner: BlockRunner, sites: Sequence[Site], resid: Tensor) -> tuple[Tensor, ...]:
    """The residual entering each site under M, from that entering the first."""
    found = [resid]
    for site, following in pairwise(sites):
        found.append(runner.run_blocks(found[-1], site.depth, following.depth))
    return tuple(found)


class Given:
    """M_s at one site with activations `[prompt, position, latent]` that were given, not encoded."""

    def __init__(self, activations: Tensor, full: FullSplice) -> None:
        self._activations, self._full = activations, full

    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        """See `splice.Splice`."""
        return self._full.with_activations(self._activations, x, there)


class NodeSums:
    """One sum for each candidate node, over prompts and over the tokens of its position."""

    def __init__(self, problem: Problem) -> None:
        self._problem, device = problem, problem.model.device
        self._tables = [torch.zeros(problem.n_positions, site.sae.d_sae, device=device) for site in problem.sites]

    def add(self, site: int, batch: Batch, values: Tensor) -> None:
        """Adds `values` `[row, position, latent]` of the clean prompts of `batch`."""
        ids = self._problem.alignment.ids["train", "clean"][batch.rows, : values.shape[1]]
        inside = ids >= 0
        self._tables[site].index_add_(0, ids[inside], values[inside])

    def means(self) -> Tensor:
        """The sums `[node]` on the CPU, divided by the number of train prompts."""
        space = self._problem.space
        found = torch.zeros(len(space))
        for site, table in enumerate(self._tables):
            nodes = slice(space.of_site(site).start, space.of_site(site).stop)
            found[nodes] = table.cpu()[space.position[nodes], space.latent[nodes]]
        return found / len(self._problem.splits["train"])
