"""Integrated gradients, the published baseline.

As in Caples et al. (2025) and Marks et al. (2024): each SAE alone, its activations moved in equal steps from the
corrupt prompt's to the clean prompt's while the other SAEs stay spliced in,

    score = mean over prompts of (1/steps) sum over steps of dLD/dA * (A_clean - A_corrupt)

and one threshold on |score| over all sites. The circuit is then ablated and evaluated like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circuit_tui.core.batch import Batch
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.ranking import RankingSearch
from circuit_tui.core.splice import Full, Splice, run

PROMPTS_AT_ONCE = 32


class IntegratedGradientsSearch(RankingSearch):
    """Ranks nodes by |integrated gradient|. Needs pairs of equal token length."""

    name = "ig"

    def score_nodes(self) -> Iterator[tuple[float, Tensor | None]]:
        """See `RankingSearch.score_nodes`."""
        problem = self.problem
        prompts = problem.sets["train"]
        if not torch.equal(prompts.clean.lengths, prompts.corrupt.lengths):
            raise UserError(
                f"--method ig: task {problem.task.name} has pairs of unequal token length; use another method"
            )
        size = min(PROMPTS_AT_ONCE, problem.batch_size or PROMPTS_AT_ONCE)
        batches = problem.batches("train", size=size)
        sums = [torch.zeros(problem.n_positions, site.sae.d_sae, device=problem.model.device) for site in problem.sites]
        total, done = len(batches) * len(problem.sites), 0
        for batch in batches:
            for site in range(len(problem.sites)):
                self._add(sums[site], batch, site)
                done += 1
                yield done / total, None
        space = problem.space
        scores = torch.zeros(len(space))
        for site, table in enumerate(sums):
            nodes = slice(space.of_site(site).start, space.of_site(site).stop)
            scores[nodes] = table.cpu()[space.position[nodes], space.latent[nodes]].abs() / len(prompts)
        yield 1.0, scores

    def _add(self, sums: Tensor, batch: Batch, site: int) -> None:
        """Adds the scores of one batch at one site to `sums` `[position, latent]`."""
        problem, sae = self.problem, self.problem.sites[site].sae
        width = batch.prefix.shape[1]
        clean = sae.encode(problem.spliced_inputs[site][batch.prompts, :width])
        corrupt = sae.encode(problem.spliced_corrupt_inputs[site][batch.prompts, :width])
        resid = problem.spliced_inputs[site][batch.prompts, :width]
        splices: list[Splice] = [Full(other, batch, batch.errors[index]) for index, other in enumerate(problem.sites)]
        steps = int(self.setting("steps"))
        total = torch.zeros_like(clean)
        for step in range(1, steps + 1):
            moved = (corrupt + (clean - corrupt) * (step / steps)).requires_grad_()
            splices[site] = _Given(moved, Full(problem.sites[site], batch, batch.errors[site]))
            logits = run(problem.model, problem.sites, batch, splices, site, resid)
            total += torch.autograd.grad(batch.logit_difference(logits).sum(), moved)[0]
        ids = problem.alignment.ids["train", "clean"][batch.prompts, :width]
        inside = ids >= 0
        sums.index_add_(0, ids[inside], (total / steps * (clean - corrupt))[inside])


class _Given:
    """M_s at one site with activations `[prompt, position, latent]` that were given, not encoded."""

    def __init__(self, activations: Tensor, full: Full) -> None:
        self._activations, self._full = activations, full

    def __call__(self, resid: Tensor) -> Tensor:
        return self._full.place(self._full.site.sae.decode(self._activations), resid)
