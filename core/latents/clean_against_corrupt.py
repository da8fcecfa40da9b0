"""How differently a node fires on a clean prompt and on its own corrupt prompt.

Two equal means can hide that a latent tells every pair apart: it may fire on half of the clean prompts and on the
corrupt prompts of the other half. The mean over pairs of |clean - corrupt| does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.splice.problem import Problem

MAX_ACTIVATIONS = 2**26
"""The most activations that are computed at once: 256 MB."""


@torch.no_grad()
def pair_differences(problem: Problem, site: int) -> Tensor:
    """Returns the mean over train pairs of |A(clean) - A(corrupt)| `[node]` of one site's nodes, under M_s.

    A is the latent's mean activation over the tokens of the node's position in a prompt. Pairs of which a prompt has no
    such token are left out; NaN where all are.
    """
    space, nodes = problem.space, problem.space.of_site(site)
    latents, slot = space.latent[nodes.start : nodes.stop].unique(return_inverse=True)
    position = space.position[nodes.start : nodes.stop]
    sides = (
        (problem.spliced_sae_inputs[site], problem.alignment.ids["train", "clean"]),
        (problem.spliced_corrupt_sae_inputs[site], problem.alignment.ids["train", "corrupt"]),
    )
    widest, sae = max(x.shape[1] for x, _ in sides), problem.sites[site].sae
    per_row = widest * (len(latents) if sae.elementwise else sae.d_sae)
    total = torch.zeros(problem.n_positions, len(latents), device=sides[0][0].device)
    count = torch.zeros(problem.n_positions, device=total.device)
    for rows in torch.arange(len(sides[0][0]), device=total.device).split(max(1, MAX_ACTIVATIONS // max(1, per_row))):
        clean, corrupt = (_position_means(problem, site, latents, x[rows], ids[rows]) for x, ids in sides)
        both = clean[1] & corrupt[1]
        total += ((clean[0] - corrupt[0]).abs() * both.unsqueeze(-1)).sum(0)
        count += both.sum(0)
    return (total / count.unsqueeze(1)).cpu()[position, slot]


def latent_activations(problem: Problem, site: int, latents: Tensor, x: Tensor) -> Tensor:
    """Returns the activations `[..., latent]` of `latents` `[latent]` of a site on SAE inputs `x` `[..., d_in]`."""
    sae = problem.sites[site].sae
    latents = latents.to(x.device)
    if not sae.elementwise:
        return sae.encode(x)[..., latents]
    z = x.float() if sae.transform is None else sae.transform.pre_encode(x.float())
    return sae.columns(latents.unsqueeze(0)).encode(z.reshape(1, -1, z.shape[-1])).reshape(*x.shape[:-1], -1)


def _position_means(problem: Problem, site: int, latents: Tensor, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean activation `[row, position, latent]` of each row, and whether it has the position."""
    activations, inside = latent_activations(problem, site, latents, x), ids >= 0
    n_rows, n_positions = len(x), problem.n_positions
    flat = (torch.arange(n_rows, device=ids.device).unsqueeze(1) * n_positions + ids)[inside]
    sums = torch.zeros(n_rows * n_positions, len(latents), device=x.device).index_add_(0, flat, activations[inside])
    counts = torch.bincount(flat, minlength=n_rows * n_positions)
    means = sums / counts.clamp(min=1).unsqueeze(1)
    return means.reshape(n_rows, n_positions, -1), (counts > 0).reshape(n_rows, n_positions)
