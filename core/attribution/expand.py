"""Expands a latent's pre-activation or a logit into what adds up to it one site before: direct feature attribution.

    z_b(p) = sum over tokens q, latents i, last heads h of f_i(q) d_i . u_h(q)
             + SAE error + SAE bias + embeddings at the start + MLPs and biases on the way + constants

with u_h the pulled-back directions of `adjoint.py`, on M's own activations (Kissane et al. 2024; Marks et al. 2024).
Expanding each latent again leads back to the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circuit_tui.core.attribution.adjoint import Adjoint, pull_back
from circuit_tui.core.attribution.parts import AttributionPart, Expansion, LatentTarget, LogitTarget, Target
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.edges.site_nodes import SiteNodes
from circuit_tui.core.errors import UserError


@torch.no_grad()
def expand(run: PlainRun, target: Target, n_parts: int | None = None) -> Expansion:
    """Returns the parts of `target`; of latents, errors and embeddings the `n_parts` largest, the rest as one.

    Raises:
        UserError: the target is not on this prompt, or its SAE is not on the residual stream or has no pre-activation.
    """
    directions, depth, value = _direction(run, target)
    site = run.site_before(target.site if isinstance(target, LatentTarget) else None)
    adjoint = pull_back(run, directions, depth, 0 if site is None else run.sites[site].depth)
    parts = sorted(_parts(run, adjoint, site), key=lambda part: -abs(part.value))
    unexplained = sum(part.value for part in parts if part.kind in ("error", "undivided"))
    if n_parts is not None and len(parts) > n_parts:
        rest = parts[n_parts:]
        parts[n_parts:] = [AttributionPart("others", sum(part.value for part in rest), count=len(rest))]
    parts += [AttributionPart("block", given, block=block) for block, given in adjoint.blocks.items()]
    constant = value - float((directions * run.streams[depth]).sum())
    parts.append(AttributionPart("constant", constant))
    return Expansion(target, value, tuple(sorted(parts, key=lambda part: -abs(part.value))), unexplained)


def _direction(run: PlainRun, target: Target) -> tuple[Tensor, int, float]:
    """The direction `[position, d_model]` of a target, the depth at which it reads the stream, and its value."""
    n_tokens = len(run.tokens)
    if not 0 <= target.token < n_tokens:
        raise UserError(f"token {target.token}: the prompt has tokens 0 to {n_tokens - 1}")
    directions = torch.zeros_like(run.streams[0])
    if isinstance(target, LogitTarget):
        unembed = run.model.bridge.unembed.W_U
        direction = unembed[:, target.right] - (0 if target.wrong is None else unembed[:, target.wrong])
        freezes = run.freezes
        directions[target.token] = freezes.final_norm.adjoint(direction) / freezes.final_scale[target.token]
        logits = _uncapped(run, target.token)
        value = float(logits[target.right]) - (0.0 if target.wrong is None else float(logits[target.wrong]))
        return directions, run.model.n_layers, value
    site = run.sites[target.site]
    if target.site not in run.on_stream:
        raise UserError(f"{site.hook} is not on the residual stream: its latents cannot be expanded")
    if not 0 <= target.latent < site.sae.d_sae:
        raise UserError(f"{site.short}/{target.latent}: the SAE has {site.sae.d_sae} latents")
    x = run.streams[site.depth]
    nodes = SiteNodes.of(site.sae, torch.tensor([target.latent], device=x.device)).hold(x.unsqueeze(0))
    slope, scale = nodes.slope_of_input()[:, 0], nodes.token_scale(x)
    directions[target.token] = slope if scale is None else slope / scale[target.token]
    return directions, site.depth, float(nodes.read(x.unsqueeze(0)).z[0, target.token, 0])


def _uncapped(run: PlainRun, token: int) -> Tensor:
    """The logits `[vocab]` behind a token, before a soft cap."""
    cap, logits = run.model.soft_cap, run.logits[token]
    return logits if cap is None else torch.atanh((logits / cap).double()) * cap


def _parts(run: PlainRun, adjoint: Adjoint, site: int | None) -> Iterator[AttributionPart]:
    """The parts that come from the stream at `site`, or from the embeddings."""
    if site is None:
        given = (adjoint.directions * run.streams[0]).sum(-1)
        for way, head in enumerate(adjoint.ways):
            for token in given[way].nonzero()[:, 0].tolist():
                yield AttributionPart("embedding", float(given[way, token]), token=token, head=head)
        return
    stream, first = run.stream_at(site), run.n_bos
    whole, errors, biases = ((adjoint.directions * part).sum(-1) for part in (stream.x, stream.error, stream.bias))
    yield AttributionPart("SAE bias", float(biases[:, first:].sum()), site=site)
    for way, head in enumerate(adjoint.ways):
        for token in range(first):
            if whole[way, token] != 0:
                yield AttributionPart("undivided", float(whole[way, token]), token=token, head=head)
        for token in (errors[way, first:].nonzero()[:, 0] + first).tolist():
            yield AttributionPart("error", float(errors[way, token]), site=site, token=token, head=head)
    yield from _latents(run, adjoint, site, first)


def _latents(run: PlainRun, adjoint: Adjoint, site: int, first: int) -> Iterator[AttributionPart]:
    stream = run.stream_at(site)
    tokens, latents = stream.activations[first:].nonzero(as_tuple=True)
    tokens = tokens + first
    values = stream.activations[tokens, latents]
    written = run.written_by(site, latents, tokens)
    for way, head in enumerate(adjoint.ways):
        given = (written * adjoint.directions[way, tokens]).sum(-1)
        for index in given.nonzero()[:, 0].tolist():
            yield AttributionPart(
                "latent", float(given[index]), site, int(latents[index]), int(tokens[index]), head,
                activation=float(values[index]),
            )  # fmt: skip
