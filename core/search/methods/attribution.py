"""What attribution methods share: the two ends of their path, a splice with fixed activations, sums over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.hook_patch import sae_input
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import FullSplice, Splice

MAX_BATCH = 32


def batches_of_pairs(problem: Problem, method: str) -> list[Batch]:
    """The train prompts in batches; each token stands at the same index as its counterpart in the corrupt prompt.

    Raises:
        UserError: a pair is of unequal token length.
    """
    prompts = problem.prompt_sets["train"]
    if not torch.equal(prompts.clean.lengths, prompts.corrupt.lengths):
        raise UserError(
            f"--method {method}: task {problem.task.name} has pairs of unequal token length; use another method"
        )
    return problem.batches("train", size=min(MAX_BATCH, problem.batch_size or MAX_BATCH))


@dataclass(frozen=True, slots=True)
class PathEnds:
    """The ends of the path from corrupt to clean activations, for one batch: one entry for each site.

    Attributes:
        clean: what the SAE reads on the clean prompts, `[row, position, d_in]`.
        corrupt: the same on the corrupt prompts.
        resids: the residual stream that enters the site's group on the clean prompts, `[row, position, d_model]`.
        errors: the SAE's errors on the clean prompts, `[row, position, d_out]`; None where they are dropped.
    """

    clean: tuple[Tensor, ...]
    corrupt: tuple[Tensor, ...]
    resids: tuple[Tensor, ...]
    errors: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, problem: Problem, batch: Batch, keep_errors: bool) -> PathEnds:
        """The ends under M_s as the problem defines it or, with `keep_errors`, under M: every error added back.

        A splice that adds back the errors of its own prompt changes nothing: this is the model with SAEs and error
        nodes of Marks et al. (2024).
        """
        width = batch.prefix.shape[1]

        def of_batch(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor[batch.rows, :width] for tensor in tensors)

        if not keep_errors:
            clean, corrupt = of_batch(problem.spliced_sae_inputs), of_batch(problem.spliced_corrupt_sae_inputs)
            return cls(clean, corrupt, of_batch(problem.spliced_resids), batch.errors)
        runner, sites = runner_for(problem.model, batch.lengths), problem.sites
        clean_resids = _plain_resids(runner, sites, batch.prefix)
        corrupt_resids = _plain_resids(runner, sites, of_batch(problem.spliced_corrupt_resids[:1])[0])
        with torch.no_grad():
            on_clean, on_corrupt = (_sae_inputs(runner, sites, resids) for resids in (clean_resids, corrupt_resids))
            errors = tuple(
                replaced.float() - site.sae.rebuild(site.sae.encode(x), x)
                for site, (x, replaced) in zip(sites, on_clean, strict=True)
            )
        return cls(tuple(x for x, _ in on_clean), tuple(x for x, _ in on_corrupt), clean_resids, errors)


def _sae_inputs(runner: BlockRunner, sites: Sequence[Site], resids: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """What the SAE of each site reads under M, and what its output replaces, from the residual entering each site."""
    return [sae_input(runner, [site], resid) for site, resid in zip(sites, resids, strict=True)]


@torch.no_grad()
def _plain_resids(runner: BlockRunner, sites: Sequence[Site], resid: Tensor) -> tuple[Tensor, ...]:
    """The residual entering each site under M, from the one entering the first."""
    found = [resid]
    for site, following in pairwise(sites):
        found.append(runner.run_blocks(found[-1], site.depth, following.depth))
    return tuple(found)


class FixedActivations(Splice):
    """M_s at one site with given activations `[prompt, position, latent]` in place of encoded ones."""

    def __init__(self, activations: Tensor, full: FullSplice) -> None:
        self._activations, self._full = activations, full

    @override
    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        return self._full.with_activations(self._activations, x, there)


class NodeSums:
    """A sum for each candidate node, over the train prompts and the tokens of its position."""

    def __init__(self, problem: Problem) -> None:
        self._problem, device = problem, problem.model.device
        self._tables = [torch.zeros(problem.n_positions, site.sae.d_sae, device=device) for site in problem.sites]

    def add(self, site: int, batch: Batch, values: Tensor) -> None:
        """Adds `values` `[row, position, latent]` of the clean prompts of `batch`."""
        ids = self._problem.alignment.ids["train", "clean"][batch.rows, : values.shape[1]]
        inside = ids >= 0
        self._tables[site].index_add_(0, ids[inside], values[inside])

    def means(self) -> Tensor:
        """The sums divided by the number of train prompts, `[node]` on the CPU."""
        space = self._problem.space
        found = torch.zeros(len(space))
        for site, table in enumerate(self._tables):
            nodes = slice(space.of_site(site).start, space.of_site(site).stop)
            found[nodes] = table.cpu()[space.position[nodes], space.latent[nodes]]
        return found / len(self._problem.splits["train"])
