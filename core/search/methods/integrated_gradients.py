"""Integrated gradients, the published baseline.

As in Caples et al. (2025) and Marks et al. (2024, "Sparse Feature Circuits", eq. 3): each SAE alone, its activations
moved in equal steps from the corrupt prompt's to the clean prompt's while the other SAEs stay spliced in,

    score = mean over prompts of (1/steps) sum over steps of dLD/dA * (A_clean - A_corrupt)

and one threshold on |score| over all sites. `errors` adds every SAE's error back while attributing, as Marks et al. do;
without it they are treated as everywhere else (dropped by default), as Caples et al. do. The circuit is then ablated
and evaluated like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.search.methods.attribution import FixedActivations, NodeSums, PathEnds, batches_of_pairs
from circuit_tui.core.search.methods.settings import IntegratedGradientsSettings
from circuit_tui.core.search.ranking import RankingMethod, Scoring
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.splice import FullSplice, Splice, run_spliced


class IntegratedGradientsMethod(RankingMethod[IntegratedGradientsSettings]):
    """Ranks nodes by |integrated gradient|. Needs pairs of equal token length."""

    @override
    def score_nodes(self) -> Scoring:
        problem = self.problem
        batches = batches_of_pairs(problem, self.spec.method)
        sums, done = NodeSums(problem), 0
        for batch in batches:
            ends = PathEnds.of(problem, batch, self.settings.errors)
            for site in range(len(problem.sites)):
                sums.add(site, batch, self._attribution(batch, ends, site))
                done += 1
                yield done / (len(batches) * len(problem.sites))
        yield 1.0
        return sums.means().abs()

    def _attribution(self, batch: Batch, ends: PathEnds, site: int) -> Tensor:
        """The scores of one batch at one site, `[prompt, position, latent]`."""
        problem, sae = self.problem, self.problem.sites[site].sae
        clean, corrupt = (sae.encode(read[site]) for read in (ends.clean, ends.corrupt))
        full = [FullSplice(other, batch, ends.errors[index]) for index, other in enumerate(problem.sites)]
        splices: list[Splice] = [*full]
        steps = self.settings.steps
        total = torch.zeros_like(clean)
        for step in range(1, steps + 1):
            moved = (corrupt + (clean - corrupt) * (step / steps)).requires_grad_()
            splices[site] = FixedActivations(moved, full[site])
            logits = run_spliced(problem.model, problem.sites, batch, splices, site, ends.resids[site]).result()
            total += torch.autograd.grad(batch.logit_difference(logits).sum(), moved)[0]
        return total / steps * (clean - corrupt)
