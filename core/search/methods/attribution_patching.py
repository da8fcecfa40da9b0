"""Attribution patching: what one gradient predicts that patching each node would do.

Nanda (2023, "Attribution Patching"), over SAE latents as in Marks et al. (2024, eq. 2): the first-order Taylor
expansion of the logit difference at the clean prompt, every SAE spliced in,

    score = mean over prompts of dLD/dA * (A_clean - A_corrupt)

for all sites in one forward and one backward pass, and one threshold on |score|. `errors` adds every SAE's error back
while attributing. The circuit is then ablated and evaluated like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.search.methods.attribution import NodeSums, PathEnds, batches_of_pairs
from circuit_tui.core.search.methods.settings import AttributionPatchingSettings
from circuit_tui.core.search.ranking import RankingMethod, Scoring
from circuit_tui.core.splice.splice import FullSplice, Splice, run_spliced


class AttributionPatchingMethod(RankingMethod[AttributionPatchingSettings]):
    """Ranks nodes by |gradient x difference of activations|. Needs pairs of equal token length."""

    @override
    def score_nodes(self) -> Scoring:
        problem = self.problem
        batches, sums = batches_of_pairs(problem, self.spec.method), NodeSums(problem)
        for done, batch in enumerate(batches, 1):
            ends = PathEnds.of(problem, batch, self.settings.errors)
            splices = [
                _RecordedActivations(FullSplice(site, batch, error))
                for site, error in zip(problem.sites, ends.errors, strict=True)
            ]
            logits = run_spliced(problem.model, problem.sites, batch, splices).result()
            activations = [splice.activations for splice in splices]
            gradients = torch.autograd.grad(batch.logit_difference(logits).sum(), activations)
            for index, (site, clean, gradient) in enumerate(zip(problem.sites, activations, gradients, strict=True)):
                corrupt = site.sae.encode(ends.corrupt[index])
                sums.add(index, batch, gradient * (clean.detach() - corrupt))
            yield done / len(batches)
        yield 1.0
        return sums.means().abs()


class _RecordedActivations(Splice):
    """M_s at one site; `activations` `[prompt, position, latent]` are kept for the gradient."""

    def __init__(self, full: FullSplice) -> None:
        self._full = full
        self.activations = torch.zeros(0)

    @override
    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        self.activations = self._full.site.sae.encode(x)
        if not self.activations.requires_grad:  # at the first site nothing before it needs a gradient
            self.activations.requires_grad_()
        return self._full.with_activations(self.activations, x, there)
