"""The splice: the output of each site is rebuilt from its SAE's latents, with those outside a circuit at a reference.

With A the SAE's latents of its input, r their reference values, m the mask (Caples et al. 2025):

    kept      base + (m * (A_c - r_c)) @ W_dec[c],   base = decode(r) + error
    full      decode(A) + error                                        (M_s)
    removed   decode(A) + error - (A_c - r_c) @ W_dec[c]               (M without C)

c are the packed latents alone, which is exact: a node outside the circuit contributes its reference, already in `base`.
The error term is a constant of the prompt, never recomputed on the masked stream, so the mask's gradient is that of the
formula. SAEs work in float32 whatever the model's dtype. An SAE's transform (`saes/sae_transform.py`) is applied to the
input before A is computed, and to the output before the error is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.saes.site import Site, site_groups
from circuit_tui.core.splice import final_site
from circuit_tui.core.splice.batch import Batch, SpliceConstants
from circuit_tui.core.splice.hook_patch import run_patched
from circuit_tui.core.splice.nodes import Pack, PaddedGroup
from circuit_tui.core.splice.position_groups import PositionGroups


class Splice(Protocol):
    """A `HookPatch` for one site, which replaces the output of its hook."""

    def __call__(self, x: Tensor, output: Tensor, /) -> Tensor:
        """Returns what replaces the hook's `output` `[row, position, d_out]` when the SAE's input is `x`.

        `x` is `[row, position, d_in]`; on the residual stream it is `output` itself.
        """


def untouched(x: Tensor, output: Tensor) -> Tensor:
    """The splice of a site at which nothing is spliced in: returns `output`."""
    return output


@dataclass(frozen=True, slots=True)
class BoundPack:
    """The pack of one site bound to one batch: it computes activations minus references, through the decoder.

    Everything grouped is in the order of the pack's groups, as in `position_groups`.
    """

    site: Site
    index: int
    batch: SpliceConstants
    pack: Pack
    position_groups: PositionGroups
    references: tuple[Tensor, ...]

    @property
    def error_after_transform(self) -> Tensor | None:
        """The error `[group, token, d_out]` that is added after the transform; None where dropped or in the base."""
        error = self.batch.errors_after_transform[self.index]
        return None if error is None else self.ordered(error)

    def ordered(self, x: Tensor) -> Tensor:
        """`x` `[group, ...]` of the batch in the order of the pack."""
        return x if self.pack.order is None else x.index_select(0, self.pack.order)

    @classmethod
    def bind(cls, site: Site, index: int, batch: SpliceConstants, pack: Pack) -> BoundPack:
        """Binds `pack`, a pack of the site number `index`, to `batch`."""
        groups = batch.position_groups if pack.order is None else batch.position_groups.reordered(pack.order)
        return cls(site, index, batch, pack, groups, batch.references(index, pack))

    def contribution(self, grouped: Tensor, mask: Tensor | None, base: Tensor | None) -> Tensor:
        """`base + (mask * (A - r)) @ W_dec`, `[group, token, d_out]`, of the SAE's input `grouped`.

        `mask` is `[slot]`, or `[circuit, slot]` if the batch has the rows of so many circuits (`Batch.of_circuits`).
        """
        sae = self.site.sae
        if sae.elementwise:
            x = grouped if sae.transform is None else sae.transform.pre_encode(grouped)
        else:
            x = sae.encode(grouped)
        stretches, parts = self._stretches(len(grouped)), list[Tensor]()
        # Not cut out one by one: the gradient of each cut would be a tensor as large as all of x.
        pieces = x.split([groups.stop - groups.start for groups, _ in stretches])
        for piece, (groups, number) in zip(pieces, stretches, strict=True):
            if number is None:
                shape = (*piece.shape[:2], sae.d_out)
                parts.append(grouped.new_zeros(shape) if base is None else base[groups].expand(shape))
                continue
            padded_group, reference = self.pack.padded_groups[number], self.references[number]
            if padded_group.columns is not None:
                activations = padded_group.columns.encode(piece)
            else:
                activations = piece.gather(2, padded_group.latents.unsqueeze(1).expand(-1, piece.shape[1], -1))
            delta = activations - reference
            if mask is not None:
                delta = delta * self._mask_of(padded_group, mask)
            if base is None:
                parts.append(torch.bmm(delta, padded_group.decoder))
            else:
                parts.append(torch.baddbmm(base[groups], delta, padded_group.decoder))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _mask_of(self, padded_group: PaddedGroup, mask: Tensor) -> Tensor:
        """The part of `mask`, `[slot]` or `[circuit, slot]`, for a padded group: `[group, 1 or token, slot]`."""
        slots, groups = padded_group.slots, padded_group.groups
        # The gradient of a cut is a tensor as large as all slots.
        own = mask if slots.stop - slots.start == mask.shape[-1] else mask[..., slots]
        n_groups = groups.stop - groups.start
        if mask.dim() == 1:
            return own.reshape(n_groups, 1, -1)
        circuits = self.position_groups.circuits(len(mask))[groups]
        return own.reshape(len(mask), n_groups, -1)[circuits, torch.arange(n_groups, device=own.device).unsqueeze(1)]

    def _stretches(self, n_groups: int) -> list[tuple[slice, int | None]]:
        """All groups in their order: each padded group with its number, what lies between them with None."""
        found, done = list[tuple[slice, int | None]](), 0
        for number, padded_group in enumerate(self.pack.padded_groups):
            if padded_group.groups.start > done:
                found.append((slice(done, padded_group.groups.start), None))
            found.append((padded_group.groups, number))
            done = padded_group.groups.stop
        return found if done == n_groups else [*found, (slice(done, n_groups), None)]

    def restricted_to(self, positions: Tensor) -> BoundPack:
        """Without the padded groups that have none of the position ids `positions`, if nothing else is read.

        `positions` `[position]` are on the CPU; groups must be position ids.
        """
        if len(self.pack.padded_groups) < 2:
            return self
        needed = [bool(torch.isin(padded_group.numbers, positions).any()) for padded_group in self.pack.padded_groups]
        pack = replace(self.pack, padded_groups=tuple(compress(self.pack.padded_groups, needed)))
        return replace(self, pack=pack, references=tuple(compress(self.references, needed)))


@dataclass(frozen=True, slots=True)
class CircuitSplice:
    """The splice of a circuit: packed nodes at `mask` `[slot]` (1 if None), all others at their reference.

    With a mask `[circuit, slot]`, that of several circuits in one pass.
    """

    nodes: BoundPack
    base: Tensor
    mask: Tensor | None = None

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Returns the spliced output: the first formula of the module."""
        groups, transform = self.nodes.position_groups, self.nodes.site.sae.transform
        base = self.nodes.ordered(self.base)
        if self.nodes.pack.empty and transform is None:
            spliced = base.expand(groups.n_groups, groups.width, -1)
        else:
            grouped = groups.group(x.float())
            spliced = base if self.nodes.pack.empty else self.nodes.contribution(grouped, self.mask, base)
            if transform is not None:
                spliced = transform.post_decode(spliced, grouped)
                error = self.nodes.error_after_transform
                spliced = spliced if error is None else spliced + error
        return groups.ungroup(spliced.to(output.dtype), output)


@dataclass(frozen=True, slots=True)
class FullSplice:
    """The splice of M_s: every latent kept.

    With a `runner` tokens are encoded in its layout, where those that are alike can stand once.
    """

    site: Site
    batch: Batch
    error: Tensor | None
    runner: BlockRunner | None = None

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Returns the spliced output: the second formula of the module."""
        sae, runner = self.site.sae, self.runner
        if runner is None:
            return self.with_activations(sae.encode(x), x, output)
        inside = runner.to_block_layout(x)
        return self._with_error(runner.from_block_layout(sae.rebuild(sae.encode(inside), inside)), output)

    def with_activations(self, activations: Tensor, x: Tensor, output: Tensor) -> Tensor:
        """`output` with its spliced tokens rebuilt from `activations` `[row, position, latent]`, plus the error."""
        return self._with_error(self.site.sae.rebuild(activations, x), output)

    def _with_error(self, rebuilt: Tensor, output: Tensor) -> Tensor:
        rebuilt = rebuilt if self.error is None else rebuilt + self.error
        spliced = self.batch.position_groups.spliced.reshape(*output.shape[:2], 1)
        return torch.where(spliced, rebuilt.to(output.dtype), output)


@dataclass(frozen=True, slots=True)
class AblatedSplice:
    """The splice of M_s with the packed nodes at their reference; with a mask, as far as each circuit has them."""

    nodes: BoundPack
    full: FullSplice
    mask: Tensor | None = None

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Returns the spliced output: the third formula of the module."""
        full = self.full(x, output)
        if self.nodes.pack.empty:
            return full
        groups, transform = self.nodes.position_groups, self.nodes.site.sae.transform
        grouped = groups.group(x.float())
        removed = self.nodes.contribution(grouped, self.mask, None)
        removed = removed if transform is None else transform.scale(removed, grouped)
        ablated = groups.group(full.float()) - removed
        return groups.ungroup(ablated.to(output.dtype), output)


class Runners:
    """What runs the blocks between the sites of one pass over a batch with `splices`.

    Where each splice does the same to every row, tokens that are alike run once. Where one may tell rows apart, as one
    that ablates another node in each, every row runs.
    """

    def __init__(self, model: LanguageModel, sites: Sequence[Site], batch: Batch, splices: Sequence[Splice]) -> None:
        self._model, self._batch = model, batch
        self._rows_alike = all(splice is untouched or isinstance(splice, _ALIKE_IN_ROWS) for splice in splices)
        self._reads = tuple(map(_positions_read, sites, splices))

    def behind(self, n_sites: int) -> BlockRunner:
        """The runner behind the first `n_sites` sites, whose group ends there."""
        if not self._rows_alike:
            return runner_for(self._model, self._batch.lengths)
        return self._batch.runner_behind(self._model, self._reads[:n_sites])


_ALIKE_IN_ROWS = (CircuitSplice, FullSplice, AblatedSplice)


def _positions_read(site: Site, splice: Splice) -> frozenset[int] | None:
    """Returns the position ids at which the output of `splice` depends on its input; None for all."""
    if site.inside is not None or site.sae.transform is not None or not isinstance(splice, CircuitSplice):
        return None
    return splice.nodes.pack.occupied


@incremental
def run_spliced(
    model: LanguageModel,
    sites: Sequence[Site],
    batch: Batch,
    splices: Sequence[Splice],
    start: int = 0,
    resid: Tensor | None = None,
    inputs: list[Tensor] | None = None,
) -> Increments[Tensor]:
    """Returns logits `[read, vocab]` where the answers are read, with `splices[s]` at site `s`; site by site.

    Starts at the group of site `start` with the residual that enters it, `resid` (the batch's prefix if None).
    `inputs`, when given, receives the residual that enters the group of each site from `start` on; its first `start`
    entries are left alone.
    """
    runners = Runners(model, sites, batch, splices)
    resid = batch.prefix if resid is None else resid
    call = _call_recomputed if batch.recompute and torch.is_grad_enabled() else _call
    for group in site_groups(sites):
        if group.stop <= start:
            continue
        for index in range(max(start, group.start), group.stop):
            if index > start:
                yield
            if inputs is not None:
                inputs[index:] = [resid]
        here, depth = slice(group.start, group.stop), sites[group.start].depth_after
        resid = call(run_patched, runners.behind(group.start), sites[here], resid, splices[here])
        runner = runners.behind(group.stop)
        rest = sites[group.stop :]
        # The whole residual that enters a last site is needed if `inputs` ask for it.
        last = not rest or (inputs is None and len(rest) == 1 and final_site.is_final(runner, model, rest[0]))
        if call is _call_recomputed:
            for layer in range(depth, model.n_layers - 1 if last else rest[0].depth):
                resid = call(runner.run_blocks, resid, layer, layer + 1)
            depth = max(depth, model.n_layers - 1)
        elif not last:
            resid = runner.run_blocks(resid, depth, rest[0].depth)
        if last:
            break
    if not rest:
        return call(runner.logits_from, resid, depth, batch.read_columns, batch.read_rows)
    yield
    splice = splices[-1]
    if isinstance(splice, CircuitSplice):
        splice = replace(splice, nodes=splice.nodes.restricted_to(batch.read_positions))
    return call(final_site.logits_from, model, splice, resid, depth, batch.read_columns, batch.read_rows)


def _call(function: Callable[..., Tensor], *args: Any) -> Tensor:
    return function(*args)


def _call_recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Calls `function` and keeps its arguments alone for a backward pass, which computes the rest again.

    Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost". The same operations run on the same numbers, so
    the gradient is the same.
    """
    result: Tensor = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return result
