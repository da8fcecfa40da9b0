"""Activation difference: how much a node changes between clean and corrupt, without gradients.

The factor (A_clean - A_corrupt) of attribution patching (Nanda 2023) on its own, scaled by how far the node moves the
residual stream,

    score = ||w_dec|| * mean over pairs of |A_clean - A_corrupt|        paired (default)
    score = ||w_dec|| * |mean A_clean - mean A_corrupt|                 not paired

with A summed over the tokens of the node's position (paired) or averaged over them (not paired), all SAEs spliced in.
Paired is the default since tasks are often balanced: where clean and corrupt prompts have each word equally often, the
means are equal and the second form is blind. The decoder norm puts latents of SAEs with other norms on one scale.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.search.methods.attribution import MAX_BATCH
from circuit_tui.core.search.methods.settings import ActivationDifferenceSettings
from circuit_tui.core.search.ranking import RankingMethod, Scoring


class ActivationDifferenceMethod(RankingMethod[ActivationDifferenceSettings]):
    """Ranks nodes by the difference of their activations."""

    @override
    def score_nodes(self) -> Scoring:
        problem, space = self.problem, self.problem.space
        scores = torch.zeros(len(space))
        for index, site in enumerate(problem.sites):
            if self.settings.paired:
                table = self._paired(index)
            else:
                clean, corrupt = problem.clean_stats[index], problem.corrupt_stats[index]
                table = (clean.means.mean() - corrupt.means.mean()).abs()
            table = (table * site.sae.w_dec.norm(dim=-1).to(table.device)).cpu()
            nodes = slice(space.of_site(index).start, space.of_site(index).stop)
            scores[nodes] = table[space.position[nodes], space.latent[nodes]]
            yield (index + 1) / len(problem.sites)
        yield 1.0
        return scores

    def _paired(self, site: int) -> Tensor:
        """Mean over pairs of rows of |A_clean - A_corrupt|, `[position, latent]`."""
        problem = self.problem
        sides = (
            (problem.spliced_sae_inputs[site], problem.alignment.ids["train", "clean"]),
            (problem.spliced_corrupt_sae_inputs[site], problem.alignment.ids["train", "corrupt"]),
        )
        n_rows, d_sae = len(problem.splits["train"].lengths), problem.sites[site].sae.d_sae
        total = torch.zeros(problem.n_positions, d_sae, device=problem.model.device)
        for rows in torch.arange(n_rows, device=total.device).split(MAX_BATCH):
            clean, corrupt = (self._by_position(site, inputs[rows], ids[rows]) for inputs, ids in sides)
            total += (clean - corrupt).abs().sum(0)
        return total / n_rows

    @torch.no_grad()
    def _by_position(self, site: int, reads: Tensor, ids: Tensor) -> Tensor:
        """Activations summed over the tokens of each position, `[prompt, position, latent]`.

        Args:
            site: the site's number.
            reads: what its SAE reads, `[prompt, token, d_in]`.
            ids: the position of each token, `[prompt, token]`, negative where it has none.
        """
        n_positions, sae = self.problem.n_positions, self.problem.sites[site].sae
        inside = ids >= 0
        prompt = torch.arange(len(ids), device=ids.device).unsqueeze(1).expand_as(ids)
        flat = torch.zeros(len(ids) * n_positions, sae.d_sae, device=ids.device)
        flat.index_add_(0, (prompt * n_positions + ids)[inside], sae.encode(reads[inside].float()))
        return flat.reshape(len(ids), n_positions, -1)
