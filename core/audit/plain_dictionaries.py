"""Dictionaries that were not learned, in place of a problem's SAEs: a control of what the SAEs are worth.

    random        directions at random, as many as the SAE has latents, mutually orthogonal d_in at a time; a latent
                  fires above a threshold at which as many fire on a token as of the SAE's
    components    the principal components of the activations
    coordinates   the activations' own coordinates: the stream's dimensions, an MLP's or a head's outputs

The second and third have two latents for each direction u, relu(u (x - mean)) and relu(-u (x - mean)), and rebuild
every activation exactly. All statistics are M's, on the clean and the corrupt train prompts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.saes.sae import SiteSae
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.hook_patch import sae_input
from circuit_tui.core.splice.problem import Problem, build_problem
from circuit_tui.core.splice.reference_passes import chunks

KINDS = ("random", "components", "coordinates")
MAX_TOKENS = 20_000
"""The most tokens on which a dictionary is fitted; they are spread evenly over all of them."""


def check_replaceable(problem: Problem) -> None:
    """Raises UserError if a site has a transcoder, whose dictionary leads from one hook to another."""
    for site in problem.sites:
        if site.sae.hook_out != site.hook:
            raise UserError(f"{site.hook} has a transcoder, in whose place no plain dictionary can stand")


@torch.no_grad()
def with_dictionary(problem: Problem, kind: str, draw: int) -> Problem:
    """Returns `problem` with a dictionary of `kind` in place of every SAE: other candidates, references, statistics.

    `draw` is the seed of the random directions. Raises UserError as `check_replaceable`.
    """
    check_replaceable(problem)
    generator = torch.Generator().manual_seed(draw)
    sites = [
        replace(site, sae=_dictionary(site, kind, activations, generator))
        for site, activations in zip(problem.sites, site_activations(problem), strict=True)
    ]
    return build_problem(
        problem.model, sites, problem.task, problem.prompt_sets, problem.alignment, problem.ablation, problem.errors,
        problem.batch_size, draw,
    )  # fmt: skip


@torch.no_grad()
def site_activations(problem: Problem) -> tuple[Tensor, ...]:
    """Returns M's activations `[token, d_in]` float32 at each site, on all spliced tokens of the train prompts."""
    model, sites = problem.model, problem.sites
    found: list[list[Tensor]] = [[] for _ in sites]
    train = problem.prompt_sets["train"]
    size = None if problem.batch_size is None else problem.batch_size * train.answers.rows_per_prompt
    for side in ("clean", "corrupt"):
        prompts, ids = getattr(train, side), problem.alignment.ids["train", side]
        for rows in chunks(prompts.lengths, size):
            width = int(prompts.lengths[rows].max())
            runner = runner_for(model, prompts.lengths[rows])
            resid, depth = runner.embed(prompts.tokens[rows, :width]), 0
            for index, site in enumerate(sites):
                resid = runner.run_blocks(resid, depth, site.depth)
                depth = site.depth
                x, _ = sae_input(runner, [site], resid)
                found[index].append(x[ids[rows, :width] >= 0].float())
    return tuple(_thinned(torch.cat(parts)) for parts in found)


def _thinned(activations: Tensor) -> Tensor:
    every = -(-len(activations) // MAX_TOKENS)
    return activations[::every]


def _dictionary(site: Site, kind: str, activations: Tensor, generator: torch.Generator) -> SiteSae:
    mean = activations.mean(0)
    if kind == "random":
        made = _random(site.sae, activations, mean, generator)
    else:
        d_in = activations.shape[1]
        basis = torch.eye(d_in, device=mean.device) if kind == "coordinates" else _components(activations - mean)
        made = _signed(site.sae, basis, mean)
    return SiteSae(made, "", f"{kind} directions", site.hook, f"{kind} directions", "")


def _components(centred: Tensor) -> Tensor:
    """The principal components `[component, d_in]` of `centred` `[token, d_in]`."""
    covariance = centred.double().t().cpu() @ centred.double().cpu()
    directions: Tensor = torch.linalg.eigh(covariance)[1]
    return directions.t().flip(0).float().to(centred.device)


def _signed(sae: SiteSae, basis: Tensor, mean: Tensor) -> Any:
    """Two latents for each row u of `basis`: relu(u (x - mean)) and relu(-u (x - mean))."""
    from sae_lens import StandardSAE, StandardSAEConfig

    made = StandardSAE(StandardSAEConfig(**_config(sae, 2 * len(basis))))
    _set(made, W_enc=torch.cat([basis, -basis]).t(), W_dec=torch.cat([basis, -basis]), b_dec=mean)
    return made


def _random(sae: SiteSae, activations: Tensor, mean: Tensor, generator: torch.Generator) -> Any:
    """Random directions, with the threshold that gives the mean L0 of `sae` and the decoder of least squared error."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    d_in = activations.shape[1]
    blocks = [torch.linalg.qr(torch.randn(d_in, d_in, generator=generator))[0] for _ in range(-(-sae.d_sae // d_in))]
    directions = torch.cat(blocks)[: sae.d_sae].to(mean.device)
    l0 = float((sae.encode(activations) != 0).float().sum(-1).mean())
    threshold = _threshold((activations - mean) @ directions.t(), l0)
    made = JumpReLUSAE(JumpReLUSAEConfig(**_config(sae, sae.d_sae)))
    thresholds = torch.full((sae.d_sae,), threshold, device=mean.device)
    _set(made, W_enc=directions.t(), W_dec=directions, b_dec=mean, threshold=thresholds)
    centred = activations - mean
    rebuilt = made.decode(made.encode(activations)) - mean
    scale = float((centred * rebuilt).sum() / rebuilt.square().sum().clamp(min=1e-12))
    _set(made, W_dec=scale * directions)
    return made


def _threshold(z: Tensor, l0: float) -> float:
    """The threshold above which `l0` entries of a row of `z` `[token, latent]` are, on average."""
    n = z.numel()
    count = min(max(1, round(l0 * len(z))), n - 1)
    return max(0.0, float(z.flatten().kthvalue(n - count)[0]))


def _config(sae: SiteSae, d_sae: int) -> dict[str, Any]:
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(hook_name=sae.hook, model_name=sae.model_name)
    return {"d_in": sae.d_in, "d_sae": d_sae, "device": str(sae.device), "metadata": metadata}


@torch.no_grad()
def _set(sae: Any, **weights: Tensor) -> None:
    for name, value in weights.items():
        getattr(sae, name).copy_(value)
