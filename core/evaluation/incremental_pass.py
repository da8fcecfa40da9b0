"""Incremental evaluation: keeps one circuit's pass, and runs only the tokens that a change can reach.

The splice gives each token its reference and the kept nodes of its position. A token without kept nodes has the same
output whatever its input is. So a change travels through tokens with kept nodes, through tokens that are not spliced
and, if several blocks lie between two sites, through all later tokens. All other tokens are taken from the trace.

Sites must be on the residual stream, and the model able to run some tokens alone (`LanguageModel.can_run_subset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.evaluation.change_size import change_size_at
from circuit_tui.core.evaluation.circuit_pass import CircuitPass
from circuit_tui.core.evaluation.evaluator import circuit_splice, pack_site
from circuit_tui.core.evaluation.many_circuits import Circuits
from circuit_tui.core.models.kv_cache import KvCache
from circuit_tui.core.runtime.device_memory import free_memory
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import CircuitSplice

MEMORY_SHARE = 0.25
"""Traces are kept if two for every batch take at most this share of the free memory."""
MAX_SPLICES = 32
"""Splices that are kept for reuse: most trials leave the nodes of all sites but one as they are."""
FEW_DIFFERENT = 0.5
"""Where at most this share of the tokens differ, full passes that run alike ones once take less than traces of all."""


@dataclass(slots=True)
class Trace:
    """One circuit's pass over one batch.

    Attributes:
        inputs, outputs: the residual `[row, position, d_model]` before and after each site; `inputs` is known only in
            the columns `IncrementalPass.known_columns`.
        input_changed, output_changed: the columns in which input and output of each site differ from the empty
            circuit's.
        kv_cache: keys and values of the blocks after the first site.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    input_changed: list[frozenset[int]] = field(default_factory=list)
    output_changed: list[frozenset[int]] = field(default_factory=list)
    kv_cache: KvCache = field(default_factory=KvCache)

    def truncate(self, site: int, other: Trace, depth: int) -> None:
        """Drops everything from `site` on; until they run, the blocks from `depth` on have the cache of `other`."""
        del self.inputs[site:], self.outputs[site:], self.input_changed[site:], self.output_changed[site:]
        self.kv_cache.layers |= {layer: kept for layer, kept in other.kv_cache.layers.items() if layer >= depth}


@dataclass(frozen=True, slots=True)
class ResidualChange:
    """The difference of a residual from a trace's: `values` `[prompt, column, d_model]` in the columns `columns`."""

    columns: frozenset[int] = frozenset()
    values: Tensor | None = None


def can_trace(problem: Problem, batches: Sequence[Batch]) -> bool:
    """Returns whether circuits of `problem` should run incrementally.

    They can, memory holds their traces of `batches`, and full passes are not the cheaper ones.
    """
    model, sites = problem.model, problem.sites
    if not model.can_run_subset or model.padding_side == "left" or any(site.inside is not None for site in sites):
        return False
    tokens = sum(batch.n_tokens for batch in batches)
    if sum(batch.share_run(model) * batch.n_tokens for batch in batches) <= FEW_DIFFERENT * tokens:
        return False
    cache_bytes = (model.n_layers - sites[0].depth_after) * model.kv_bytes_per_token
    stream_bytes = 2 * len(sites) * model.d_model * model.dtype.itemsize
    free = free_memory(model.device)
    return free is None or 2 * tokens * (cache_bytes + stream_bytes) <= MEMORY_SHARE * free


class IncrementalPass(CircuitPass):
    """Runs circuits of `problem` over one batch, in the tokens that a change can reach."""

    def __init__(self, problem: Problem, batch: Batch) -> None:
        self.problem, self.batch = problem, batch
        self._trace = Trace()
        self._splices: dict[tuple[int, int, frozenset[int]], tuple[Tensor, CircuitSplice]] = {}

    @cached_property
    def _empty_trace(self) -> Trace:
        """The trace of the empty circuit, over all tokens."""
        model, sites, trace = self.problem.model, self.problem.sites, Trace()
        resid = self.batch.prefix
        empty = Circuits(torch.zeros(1, len(self.problem.space), dtype=torch.bool))
        for index, site in enumerate(sites):
            trace.inputs.append(resid)
            trace.input_changed.append(frozenset())
            trace.output_changed.append(frozenset())
            resid = self._splice_output(empty, index, resid, self.batch.columns.all)
            trace.outputs.append(resid)
            next_depth = sites[index + 1].depth if index + 1 < len(sites) else model.n_layers
            resid = model.run_blocks(resid, site.depth_after, next_depth, trace.kv_cache)
        return trace

    @override
    @incremental
    def advance_to(self, kept: Tensor, start: int) -> Increments[Tensor]:
        # The new trace is built on the empty circuit's, so that it depends on `kept` alone, not on the circuit before.
        trace, empty, circuits = self._trace, self._empty_trace, Circuits(kept.unsqueeze(0))
        if self._blocks_before(start) == 1:  # the columns in which the input is known depend on the circuit before
            output_change = self._change_in(trace.output_changed[start - 1], trace.outputs[start - 1])
            trace.truncate(start, empty, self.problem.sites[start - 1].depth_after)
            input_change = self._change_at_input(circuits, start, empty, output_change, trace)
        else:
            input_change = ResidualChange()
            if trace.inputs:
                input_change = self._change_in(trace.input_changed[start], trace.inputs[start])
            trace.truncate(start, empty, self.problem.sites[start].depth_after)
        positions = [self._positions(kept, site) for site in range(len(self.problem.sites))]
        return (yield from self._run(circuits, empty, positions, start, input_change, trace))

    @override
    @incremental
    def evaluate_alternatives(self, circuits: Circuits, current: Tensor) -> Increments[Tensor]:
        nodes = circuits.changed(current)
        changed = [self._positions(nodes, site) for site in range(len(self.problem.sites))]
        start = next(site for site, positions in enumerate(changed) if positions)
        return (yield from self._run(circuits, self._trace, changed, start, ResidualChange(), None))

    @override
    def work(self, changed: Tensor) -> float:
        model, space, columns = self.problem.model, self.problem.space, self.batch.columns
        start = int(space.site[changed].min())
        reached = columns.with_positions(set(space.position[changed].tolist()))
        n_columns = len(columns.all) - min(reached) if reached else 0
        blocks = model.n_layers - self.problem.sites[start].depth
        return len(self.batch.rows) * n_columns * model.token_work * blocks

    @override
    @torch.no_grad()
    def change_sizes(self, kept: Tensor, current: Tensor) -> Tensor:
        sizes = torch.zeros(len(self.batch.lengths), dtype=torch.float64)
        for site in self.problem.space.site[kept != current].unique().tolist():
            columns = self.batch.columns.with_positions(self._positions(kept != current, site))
            if not columns:  # no prompt of the batch has these positions
                continue
            x = self._known_input(self._trace, site, columns).index_select(1, self.batch.columns.indices(columns))
            sizes += change_size_at(self.problem, self.batch.columns.constants(columns), site, x, kept, current)
        return sizes

    def _run(
        self,
        circuits: Circuits,
        base: Trace,
        changed_positions: Sequence[set[int]],
        start: int,
        input_change: ResidualChange,
        into: Trace | None,
    ) -> Increments[Tensor]:
        """Runs `circuits` where they differ from `base`; returns their logits, and appends the pass of one to `into`.

        `changed_positions` has the positions at which the nodes of each site differ, `input_change` the difference in
        the input of site `start`.
        """
        sites, columns, output_change = self.problem.sites, self.batch.columns, ResidualChange()
        for index in range(start, len(sites)):
            if index > start:
                yield
                input_change = self._change_at_input(circuits, index, base, output_change, into)
            reached = columns.with_positions(changed_positions[index])
            reached |= input_change.columns & self._dependent_columns(circuits.union, index)
            output_change = ResidualChange(reached)
            if reached:
                base_input = self._known_input(base, index, reached - input_change.columns)
                x = self._changed_columns(base_input, input_change, reached, len(circuits))
                output_change = ResidualChange(reached, self._splice_output(circuits, index, x, reached))
            if into is not None:
                into.input_changed.append(input_change.columns)
                into.output_changed.append(reached)
                into.inputs.append(self._with_change(base.inputs[index], input_change))
                into.outputs.append(self._with_change(base.outputs[index], output_change))
        return self._logits(base, output_change, into, len(circuits))

    def _change_at_input(
        self, circuits: Circuits, index: int, base: Trace, output_change: ResidualChange, into: Trace | None
    ) -> ResidualChange:
        """Returns the change in the input of site `index` that follows from the change in the output before it."""
        model, before, site = self.problem.model, self.problem.sites[index - 1], self.problem.sites[index]
        if not output_change.columns or before.depth_after == site.depth:
            return output_change
        wanted = self._dependent_columns(circuits.union, index)
        reached = self._columns_to_run(output_change.columns, wanted, self._blocks_before(index))
        resid = self._changed_columns(base.outputs[index - 1], output_change, reached, len(circuits))
        column_indices = self.batch.columns.indices(reached)
        with base.kv_cache.subset(column_indices, None if into is None else into.kv_cache) as kv_cache:
            return ResidualChange(reached, model.run_blocks(resid, before.depth_after, site.depth, kv_cache))

    def known_columns(self, trace: Trace, index: int) -> frozenset[int]:
        """Returns the columns in which `trace` has the input of site `index`: the ones its nodes needed, not all."""
        columns, output_changed = self.batch.columns, trace.output_changed[index - 1] if index else frozenset()
        if self._blocks_before(index) != 1 or not output_changed:
            return columns.all
        return trace.input_changed[index] | {column for column in columns.all if column < min(output_changed)}

    def _known_input(self, base: Trace, index: int, wanted: frozenset[int]) -> Tensor:
        """Returns the input of site `index` in `base`, `[row, position, d_model]`, at least in the columns `wanted`."""
        missing = wanted - self.known_columns(base, index)
        if not missing:
            return base.inputs[index]
        column_indices, layer = self.batch.columns.indices(missing), self.problem.sites[index - 1].depth_after
        output = base.outputs[index - 1].index_select(1, column_indices)
        with base.kv_cache.subset(column_indices) as kv_cache:
            resid = self.problem.model.run_blocks(output, layer, layer + 1, kv_cache)
        return base.inputs[index].index_copy(1, column_indices, resid)

    def _blocks_before(self, index: int) -> int:
        """Returns the number of blocks between site `index` and the site before it; 0 before the first site."""
        sites = self.problem.sites
        return sites[index].depth - sites[index - 1].depth_after if index else 0

    def _change_in(self, columns: frozenset[int], resid: Tensor) -> ResidualChange:
        """Returns the columns `columns` of `resid` `[row, position, d_model]` as a change."""
        if not columns:
            return ResidualChange()
        return ResidualChange(columns, resid.index_select(1, self.batch.columns.indices(columns)))

    def _logits(self, base: Trace, output_change: ResidualChange, into: Trace | None, n_circuits: int) -> Tensor:
        """Returns the logits `[read, vocab]` that follow from the change in the output of the last site."""
        model, columns, depth = self.problem.model, self.batch.columns, self.problem.sites[-1].depth_after
        reached = columns.read
        if output_change.columns and depth < model.n_layers:
            reached |= self._columns_to_run(output_change.columns, columns.read, model.n_layers - depth)
        column_indices = columns.indices(reached)
        resid = self._changed_columns(base.outputs[-1], output_change, reached, n_circuits)
        batch = self.batch.of_circuits(n_circuits)
        read_columns = torch.searchsorted(column_indices, batch.read_columns)
        with base.kv_cache.subset(column_indices, None if into is None else into.kv_cache) as kv_cache:
            return model.logits_from(resid, depth, read_columns, batch.read_rows, kv_cache)

    def _changed_columns(
        self, base: Tensor, change: ResidualChange, columns: frozenset[int], n_circuits: int
    ) -> Tensor:
        """Returns the columns `columns` of `base` `[row, position, d_model]` with the circuits' `change`."""
        if change.columns == columns and change.values is not None:
            return change.values
        column_indices = self.batch.columns.indices(columns)
        result = base.index_select(1, column_indices)
        result = result if n_circuits == 1 else result.repeat(n_circuits, 1, 1)
        both = change.columns & columns
        if both and change.values is not None:
            both_indices = self.batch.columns.indices(both)
            values = change.values
            if both != change.columns:
                change_indices = self.batch.columns.indices(change.columns)
                values = values.index_select(1, torch.searchsorted(change_indices, both_indices))
            result.index_copy_(1, torch.searchsorted(column_indices, both_indices), values)
        return result

    def _with_change(self, base: Tensor, change: ResidualChange) -> Tensor:
        if not change.columns or change.values is None:
            return base
        return base.index_copy(1, self.batch.columns.indices(change.columns), change.values)

    def _columns_to_run(self, changed: frozenset[int], wanted: frozenset[int], blocks: int) -> frozenset[int]:
        """Returns the columns to run through `blocks` blocks if the residual differs in `changed`.

        The result is read in the columns `wanted`. Through one block these are enough; through more blocks, every later
        token changes on the way.
        """
        later = wanted if blocks == 1 else self.batch.columns.all
        first = min(changed)
        return changed | {column for column in later if column > first}

    def _dependent_columns(self, kept: Tensor, index: int) -> frozenset[int]:
        """Returns the columns in which the output of site `index` depends on its input."""
        columns = self.batch.columns
        if self.problem.sites[index].sae.transform is not None:
            return columns.all
        return columns.with_positions(self._positions(kept, index)) | columns.unspliced

    def _positions(self, kept: Tensor, index: int) -> set[int]:
        """Returns the position ids at which `kept` `[node]` bool has nodes of site `index`."""
        space = self.problem.space
        return set(space.position[space.kept_of_site(kept, index)].tolist())

    def _splice_output(self, circuits: Circuits, index: int, x: Tensor, columns: frozenset[int]) -> Tensor:
        """Returns the output of site `index` for its input `x` `[row, column, d_model]` in the columns `columns`."""
        tokens = self.batch.of_circuits(len(circuits)).columns.constants(columns)
        if not tokens.position_groups.n_groups:
            return x
        space, key = self.problem.space, (len(circuits), index, columns)
        nodes = space.kept_of_site(circuits.union, index)
        cached = self._splices.get(key)
        if cached is None or not torch.equal(cached[0], nodes):
            pack = pack_site(self.problem, circuits.union, index, tokens)
            cached = nodes, circuit_splice(self.problem, tokens, index, pack)
            while len(self._splices) >= MAX_SPLICES:
                del self._splices[next(iter(self._splices))]
            self._splices[key] = cached
        splice = cached[1]
        return replace(splice, mask=circuits.mask(space, index, splice.nodes.pack))(x, x)
