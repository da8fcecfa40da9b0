"""A circuit's pass kept whole, from which that of another circuit differs in few tokens: only those are run.

The splice sends each token its reference and the kept nodes of its position. A token without any has the same output
whatever arrives, so a change travels through tokens with kept nodes, through tokens that are not spliced, and, where
several blocks lie between two sites, through all later tokens. All others are taken from the trace.

Sites must be on the residual stream, and the model able to run some tokens alone (`LanguageModel.can_run_subset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import circuit_splice, pack_site
from circuit_tui.core.models.kv_cache import KvCache
from circuit_tui.core.runtime.device_memory import free_memory
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import Splice

# Traces are kept if two of every batch take at most this share of the memory that is free.
SHARE = 0.25
# Most trials leave the nodes of all sites but one as they are; so many splices are kept ready.
MOST_SPLICES = 32


@dataclass(slots=True)
class Trace:
    """One circuit's pass over one batch.

    Attributes:
        inputs, outputs: for each site the residual `[row, position, d_model]` that enters and that leaves it; the
            first only in the columns `IncrementalPass.known`.
        changed, left: for each site the columns in which what enters and what leaves differs from the empty circuit's.
        memory: keys and values of the blocks behind the first site.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    changed: list[frozenset[int]] = field(default_factory=list)
    left: list[frozenset[int]] = field(default_factory=list)
    kv_cache: KvCache = field(default_factory=KvCache)

    def forget(self, site: int, other: Trace, after: int) -> None:
        """Goes back to before `site`; the blocks from `after` on are those of `other` until they are run."""
        del self.inputs[site:], self.outputs[site:], self.changed[site:], self.left[site:]
        self.kv_cache.layers |= {layer: kept for layer, kept in other.kv_cache.layers.items() if layer >= after}


@dataclass(frozen=True, slots=True)
class ResidualChange:
    """Where a residual differs from that of a trace: `values` `[prompt, column, d_model]` in the columns `columns`."""

    columns: frozenset[int] = frozenset()
    values: Tensor | None = None


def traceable(problem: Problem, batches: Sequence[Batch]) -> bool:
    """Whether circuits can be traced, and there is memory for it."""
    model, sites = problem.model, problem.sites
    if not model.can_run_subset or model.padding_side == "left" or any(site.inside is not None for site in sites):
        return False
    tokens = sum(batch.prefix.shape[0] * batch.prefix.shape[1] for batch in batches)
    blocks = (model.n_layers - sites[0].depth_after) * model.kv_bytes_per_token
    streams = 2 * len(sites) * model.d_model * model.dtype.itemsize
    free = free_memory(model.device)
    return free is None or 2 * tokens * (blocks + streams) <= SHARE * free


class IncrementalPass:
    """Runs circuits over one batch.

    Args:
        problem: the batch is of this problem.
        batch: the prompts.
    """

    def __init__(self, problem: Problem, batch: Batch) -> None:
        self.problem, self.batch = problem, batch
        self._own = Trace()
        self._splices: dict[tuple[int, frozenset[int]], tuple[Tensor, Splice]] = {}

    @cached_property
    def _empty(self) -> Trace:
        """That of the empty circuit, over all tokens."""
        model, sites, trace = self.problem.model, self.problem.sites, Trace()
        resid = self.batch.prefix
        nothing = torch.zeros(len(self.problem.space), dtype=torch.bool)
        for index, site in enumerate(sites):
            trace.inputs.append(resid)
            trace.changed.append(frozenset())
            trace.left.append(frozenset())
            resid = self._spliced(nothing, index, resid, self.batch.columns.all)
            trace.outputs.append(resid)
            stop = sites[index + 1].depth if index + 1 < len(sites) else model.n_layers
            resid = model.run_blocks(resid, site.depth_after, stop, trace.kv_cache)
        return trace

    @incremental
    def advance_to(self, kept: Tensor, start: int) -> Increments[Tensor]:
        """See `live_circuit.CircuitPass`. What the trace comes to depends on `kept` alone, not on the one before."""
        own, empty = self._own, self._empty
        if self._blocks_before(start) == 1:  # in which columns its input is known is a matter of the circuit before
            leaving = self._change(own.left[start - 1], own.outputs[start - 1])
            own.forget(start, empty, self.problem.sites[start - 1].depth_after)
            entering = self._between(kept, start, empty, leaving, own)
        else:
            entering = self._change(own.changed[start], own.inputs[start]) if own.inputs else ResidualChange()
            own.forget(start, empty, self.problem.sites[start].depth_after)
        nodes = [self._positions(kept, site) for site in range(len(self.problem.sites))]
        return (yield from self._run(kept, empty, nodes, start, entering, own))

    @incremental
    def evaluate_alternative(self, kept: Tensor, other: Tensor) -> Increments[Tensor]:
        """See `live_circuit.CircuitPass`."""
        nodes = [self._positions(kept != other, site) for site in range(len(self.problem.sites))]
        start = next(site for site, positions in enumerate(nodes) if positions)
        return (yield from self._run(kept, self._own, nodes, start, ResidualChange(), None))

    def _run(
        self,
        kept: Tensor,
        base: Trace,
        differs: Sequence[set[int]],
        start: int,
        entering: ResidualChange,
        into: Trace | None,
    ) -> Increments[Tensor]:
        """Runs what differs from `base`: nodes at the positions `differs` of each site, and what follows from them.

        `entering` is where what enters site `start` differs.
        """
        sites, columns, leaving = self.problem.sites, self.batch.columns, ResidualChange()
        for index in range(start, len(sites)):
            if index > start:
                yield
                entering = self._between(kept, index, base, leaving, into)
            reached = columns.with_positions(differs[index]) | (entering.columns & self._carrying(kept, index))
            leaving = ResidualChange(reached)
            if reached:
                x = self._at(self._complete(base, index, reached - entering.columns), entering, reached)
                leaving = ResidualChange(reached, self._spliced(kept, index, x, reached))
            if into is not None:
                into.changed.append(entering.columns)
                into.left.append(reached)
                into.inputs.append(self._whole(base.inputs[index], entering))
                into.outputs.append(self._whole(base.outputs[index], leaving))
        return self._logits(base, leaving, into)

    def _between(
        self, kept: Tensor, index: int, base: Trace, leaving: ResidualChange, into: Trace | None
    ) -> ResidualChange:
        """Where what enters site `index` differs, given that of what leaves the site before it."""
        model, before, site = self.problem.model, self.problem.sites[index - 1], self.problem.sites[index]
        if not leaving.columns or before.depth_after == site.depth:
            return leaving
        reached = self._reached(leaving.columns, self._carrying(kept, index), self._blocks_before(index))
        resid = self._at(base.outputs[index - 1], leaving, reached)
        with base.kv_cache.subset(
            self.batch.columns.indices(reached), None if into is None else into.kv_cache
        ) as kv_cache:
            return ResidualChange(reached, model.run_blocks(resid, before.depth_after, site.depth, kv_cache))

    def known(self, trace: Trace, index: int) -> frozenset[int]:
        """Columns in which `trace` has what enters site `index`: those that the site's nodes wanted, not all."""
        columns, left = self.batch.columns, trace.left[index - 1] if index else frozenset()
        if self._blocks_before(index) != 1 or not left:
            return columns.all
        return trace.changed[index] | {column for column in columns.all if column < min(left)}

    def _complete(self, base: Trace, index: int, wanted: frozenset[int]) -> Tensor:
        """What enters site `index` in `base`, `[row, position, d_model]`, in the columns `wanted` at least."""
        missing = wanted - self.known(base, index)
        if not missing:
            return base.inputs[index]
        at, layer = self.batch.columns.indices(missing), self.problem.sites[index - 1].depth_after
        with base.kv_cache.subset(at) as kv_cache:
            resid = self.problem.model.run_blocks(
                base.outputs[index - 1].index_select(1, at), layer, layer + 1, kv_cache
            )
        return base.inputs[index].index_copy(1, at, resid)

    def _blocks_before(self, index: int) -> int:
        """How many blocks lie between site `index` and the one before it; 0 before the first site."""
        sites = self.problem.sites
        return sites[index].depth - sites[index - 1].depth_after if index else 0

    def _change(self, columns: frozenset[int], whole: Tensor) -> ResidualChange:
        return (
            ResidualChange(columns, whole.index_select(1, self.batch.columns.indices(columns)))
            if columns
            else ResidualChange()
        )

    def _logits(self, base: Trace, leaving: ResidualChange, into: Trace | None) -> Tensor:
        model, columns, after = self.problem.model, self.batch.columns, self.problem.sites[-1].depth_after
        reached = columns.read
        if leaving.columns and after < model.n_layers:
            reached |= self._reached(leaving.columns, columns.read, model.n_layers - after)
        at, resid = columns.indices(reached), self._at(base.outputs[-1], leaving, reached)
        places = torch.searchsorted(at, self.batch.read_columns)
        with base.kv_cache.subset(at, None if into is None else into.kv_cache) as kv_cache:
            return model.logits_from(resid, after, places, self.batch.read_rows, kv_cache)

    def _at(self, base: Tensor, change: ResidualChange, columns: frozenset[int]) -> Tensor:
        """Columns `columns` of what is `base` `[row, position, d_model]` but for `change`."""
        if change.columns == columns and change.values is not None:
            return change.values
        at = self.batch.columns.indices(columns)
        found = base.index_select(1, at)
        both = change.columns & columns
        if both and change.values is not None:
            index = self.batch.columns.indices(both)
            own = change.values
            if both != change.columns:
                own = own.index_select(1, torch.searchsorted(self.batch.columns.indices(change.columns), index))
            found.index_copy_(1, torch.searchsorted(at, index), own)
        return found

    def _whole(self, base: Tensor, change: ResidualChange) -> Tensor:
        if not change.columns or change.values is None:
            return base
        return base.index_copy(1, self.batch.columns.indices(change.columns), change.values)

    def _reached(self, changed: frozenset[int], wanted: frozenset[int], blocks: int) -> frozenset[int]:
        """Columns to run through some blocks if the residual differs in `changed` and is read in `wanted` behind them.

        Through one block that is all. Through more every later token changes on the way.
        """
        later = wanted if blocks == 1 else self.batch.columns.all
        first = min(changed)
        return changed | {column for column in later if column > first}

    def _carrying(self, kept: Tensor, index: int) -> frozenset[int]:
        """Columns in which what leaves site `index` depends on what enters it."""
        columns = self.batch.columns
        if self.problem.sites[index].sae.transform is not None:
            return columns.all
        return columns.with_positions(self._positions(kept, index)) | columns.unspliced

    def _positions(self, kept: Tensor, index: int) -> set[int]:
        space = self.problem.space
        return set(space.position[space.kept_of_site(kept, index)].tolist())

    def _spliced(self, kept: Tensor, index: int, x: Tensor, columns: frozenset[int]) -> Tensor:
        """What leaves site `index` of `x` `[prompt, column, d_model]` in these columns."""
        tokens = self.batch.columns.constants(columns)
        if not tokens.position_groups.n_groups:
            return x
        nodes = self.problem.space.kept_of_site(kept, index)
        found = self._splices.get((index, columns))
        if found is None or not torch.equal(found[0], nodes):
            pack = pack_site(self.problem, kept, index, tokens)
            found = nodes, circuit_splice(self.problem, tokens, index, pack)
            while len(self._splices) >= MOST_SPLICES:
                del self._splices[next(iter(self._splices))]
            self._splices[index, columns] = found
        return found[1](x, x)
