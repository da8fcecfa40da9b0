"""Expands a latent's pre-activation or a logit into what adds up to it one site before: direct feature attribution.

    z_b(p) = sum over tokens q, latents i, last heads h of f_i(q) d_i . u_h(q)
             + SAE error + SAE bias + embeddings at the start + MLPs and biases on the way + constants

with u_h the pulled-back directions of `adjoint.py`, on M's own activations (Kissane et al. 2024; Marks et al. 2024).
Expanding each latent again leads back to the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from circuit_tui.core.attribution.adjoint import Adjoint, Head, pull_back
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.edges.site_nodes import SiteNodes
from circuit_tui.core.errors import UserError

PartKind = Literal["latent", "error", "SAE bias", "embedding", "undivided", "block", "constant", "others"]


@dataclass(frozen=True, slots=True)
class LatentTarget:
    """The pre-activation of a latent at one token."""

    site: int
    latent: int
    token: int


@dataclass(frozen=True, slots=True)
class LogitTarget:
    """The logit, before a soft cap, of token id `right` behind a token, less that of `wrong` if there is one."""

    token: int
    right: int
    wrong: int | None = None


Target = LatentTarget | LogitTarget


@dataclass(frozen=True, slots=True)
class AttributionPart:
    """One summand of a target's value.

    Attributes:
        kind: ``latent`` and ``error`` of the site before; ``SAE bias`` of all its tokens; ``embedding`` of a token
            where no site is before; ``undivided``, the stream at a token that no SAE takes apart, such as BOS;
            ``block``, the MLP and the biases of a block on the way; ``constant``, biases of the target itself;
            ``others``, all parts that are not listed.
        value: what it adds.
        site, latent: of a latent, the site of an error; else None.
        token: the token that it comes from; None where it is of several.
        head: the last head on the way; None past all heads.
        block: of a ``block``.
        activation: of a latent.
        count: how many parts it stands for.
    """

    kind: PartKind
    value: float
    site: int | None = None
    latent: int | None = None
    token: int | None = None
    head: Head | None = None
    block: int | None = None
    activation: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Expansion:
    """A target's value and the parts that add up to it, the largest first.

    Attributes:
        target: what was expanded.
        value: the pre-activation, or the logit (difference) before a soft cap, of M's own pass.
        parts: they add up to `value`.
        unexplained: the sum of the parts that no latent or embedding explains: errors and undivided streams.
    """

    target: Target
    value: float
    parts: tuple[AttributionPart, ...]
    unexplained: float

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return sum(part.value for part in self.parts)


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
    sae, stream = run.sites[site].sae, run.stream_at(site)
    tokens, latents = stream.activations[first:].nonzero(as_tuple=True)
    tokens = tokens + first
    values = stream.activations[tokens, latents]
    written = values.unsqueeze(1) * sae.directions(latents)
    if sae.transform is not None:
        written = sae.transform.scale(written, stream.x[tokens].float())
    for way, head in enumerate(adjoint.ways):
        given = (written * adjoint.directions[way, tokens]).sum(-1)
        for index in given.nonzero()[:, 0].tolist():
            yield AttributionPart(
                "latent", float(given[index]), site, int(latents[index]), int(tokens[index]), head,
                activation=float(values[index]),
            )  # fmt: skip
