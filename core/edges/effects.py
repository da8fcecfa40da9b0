"""Effects along edges, prompt by prompt: exact ones by passes, the frozen part by a linear sweep.

    edge      z_b - z_b(a at its reference, the nodes of the sites in between held)
    total     the same with everything behind a responding
    metric    LD - LD(b alone sees a at its reference; everything behind b responds): path patching at the pair
    frozen    (f_a - r_a) d_a^T J e_b, attention patterns, norm scales and MLP outputs held

Positive means that a raises b. For the logit difference as b, z_b is the logit difference itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.ends import TOKENS, EdgeSpace
from circuit_tui.core.edges.freezes import record_freezes
from circuit_tui.core.edges.frozen import frozen_parts
from circuit_tui.core.runtime.incremental import Increments, incremental

FLOATS = {"cpu": 1 << 23, "cuda": 1 << 28}
"""How many floats the widest tensor of a sweep of several views may have."""


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects along all possible edges of a circuit on some prompts.

    Attributes:
        edges: `[edge, 2]` source and target ends.
        edge, total, frozen: `[edge, prompt]` in units of the target's pre-activation; NaN on prompts without one of
            the target's tokens.
        activation: `[edge, prompt]` the edge's effect on the target's activation.
        flips: `[edge]` the share of the target's tokens at which its gate flips without the source.
        heads: `[edge, block, head]` the mean over prompts of the frozen part's share of each last head.
        past: `[edge]` the same of what gets there past all heads.
        aligned_heads, aligned_past: the same with the sign that makes each prompt's edge positive.
        first_order: `[edge, prompt]` the activation's effect times the logit difference's gradient by it.
        node_total: `[end, prompt]` what each source gives to the logit difference, everything behind it responding.
        logit_difference: `[prompt]` that of the circuit.
    """

    edges: Tensor
    edge: Tensor
    total: Tensor
    frozen: Tensor
    activation: Tensor
    flips: Tensor
    heads: Tensor
    past: Tensor
    aligned_heads: Tensor
    aligned_past: Tensor
    first_order: Tensor
    node_total: Tensor
    logit_difference: Tensor


def views_at_once(circuit: CircuitPass, last: int) -> int:
    """How many views of a circuit's prompts run at once, to site number `last` or to the logits."""
    model, n_rows = circuit.problem.model, circuit.n_rows
    width = n_rows * circuit.n_columns * int(getattr(model.bridge.cfg, "d_mlp", None) or 4 * model.d_model)
    if last == circuit.space.n_sites:
        width = max(width, len(circuit.prompts.batch.read_rows) * int(model.bridge.cfg.d_vocab))
    return max(1, FLOATS["cuda" if model.device.type == "cuda" else "cpu"] // width)


@incremental
def all_effects(passes: Sequence[CircuitPass]) -> Increments[Effects]:
    """Returns all effects but those on the metric; yields after each group of sources."""
    space, model = passes[0].space, passes[0].problem.model
    edges = space.possible.nonzero()
    parts = [_Gathered(space, edges, circuit, model.n_layers) for circuit in passes]
    for part in parts:
        yield from part.run()
    order = torch.cat([circuit.prompts.batch.prompts for circuit in passes]).argsort().cpu()

    def joined(name: str) -> Tensor:
        whole: Tensor = torch.cat([getattr(part, name) for part in parts], 1)[:, order]
        return whole

    # Means over the prompts that have a value, not over batches.
    counts = (~joined("edge").isnan()).sum(1).clamp(min=1)

    def averaged(name: str) -> Tensor:
        whole: Tensor = torch.stack([getattr(part, name) for part in parts]).sum(0)
        return whole / counts.reshape(-1, *[1] * (whole.dim() - 1))

    return Effects(
        edges, joined("edge"), joined("total"), joined("frozen"), joined("activation"), averaged("flips"),
        averaged("heads"), averaged("past"),
        averaged("aligned_heads"), averaged("aligned_past"), joined("first_order"), joined("node_total"),
        torch.cat([circuit.logit_difference for circuit in passes])[order.to(passes[0].logit_difference.device)].cpu(),
    )  # fmt: skip


class _Gathered:
    """The effects on one batch; the fields of `Effects` are filled source by source."""

    def __init__(self, space: EdgeSpace, edges: Tensor, circuit: CircuitPass, n_layers: int) -> None:
        self._space, self._circuit = space, circuit
        n, n_prompts = len(edges), len(circuit.prompts.batch)
        self._number = torch.full(space.possible.shape, -1)
        self._number[edges[:, 0], edges[:, 1]] = torch.arange(n)
        self.edge, self.total, self.frozen, self.activation, self.first_order = (
            torch.full((n, n_prompts), float("nan")) for _ in range(5)
        )
        self.flips, self.past, self.aligned_past = torch.zeros(n), torch.zeros(n), torch.zeros(n)
        self.heads = torch.zeros(n, n_layers, int(circuit.problem.model.bridge.cfg.n_heads))
        self.aligned_heads = torch.zeros_like(self.heads)
        self.node_total = torch.zeros(len(space), n_prompts)

    def run(self) -> Increments[None]:
        circuit, space = self._circuit, self._space
        freezes, gradients = record_freezes(circuit), circuit.gradients()
        yield
        for source in range(TOKENS, space.n_sites):
            ends, last = space.of_site(source), space.reach_of(source)
            size = views_at_once(circuit, space.n_sites)
            for start in range(ends.start, ends.stop, size):
                chunk = range(start, min(start + size, ends.stop))
                change = torch.stack([circuit.change_of(end) for end in chunk])
                self._exact(source, chunk, change, last, gradients)
                yield
                self._total(source, chunk, change)
                for part in frozen_parts(circuit, freezes, source, change):
                    for block, heads in part.heads.items():
                        self._put_heads(chunk, part.target, block, heads)
                    self._put(self.frozen, chunk, part.target, part.total)
                    self._put_sum(self.past, chunk, part.target, part.past)
                    self._put_past(chunk, part.target, part.past)
                yield

    def _exact(self, source: int, chunk: range, change: Tensor, last: int, gradients: list[Tensor]) -> None:
        circuit, space = self._circuit, self._space
        sweep = circuit.run_changed(source, -change, last, respond=False)
        for target, x in sweep.inputs.items():
            self._put(self.edge, chunk, target, self._moved(target, x))
            reading, before = circuit.nodes[target].read(x).activation, circuit.readings[target].activation
            self._put(self.activation, chunk, target, circuit.mean_over_tokens(target, before - reading))
            flipped = ((reading != 0) != (before != 0)).float()
            self._put_sum(self.flips, chunk, target, circuit.mean_over_tokens(target, flipped))
            delta = circuit.deltas[target] - circuit.delta_of(target, reading)
            rows = circuit.prompts.batch.answers.rows_per_prompt
            first_order = (delta * gradients[target]).sum(-1).reshape(*delta.shape[:2], -1, rows).sum(-1)
            self._put(self.first_order, chunk, target, first_order)
        if sweep.logit_difference is not None:
            difference = (circuit.logit_difference - sweep.logit_difference).unsqueeze(1)
            for table in (self.edge, self.activation, self.first_order):
                self._put(table, chunk, space.n_sites, difference)

    def _total(self, source: int, chunk: range, change: Tensor) -> None:
        circuit, space = self._circuit, self._space
        sweep = circuit.run_changed(source, -change, space.n_sites, respond=True)
        for target, x in sweep.inputs.items():
            self._put(self.total, chunk, target, self._moved(target, x))
        assert sweep.logit_difference is not None
        difference = circuit.logit_difference - sweep.logit_difference
        self.node_total[chunk.start : chunk.stop] = difference.cpu()
        self._put(self.total, chunk, space.n_sites, difference.unsqueeze(1))

    def _moved(self, target: int, x: Tensor) -> Tensor:
        """By how much pre-activations are above those for the inputs `x`, `[view, node, prompt]`."""
        circuit = self._circuit
        return circuit.mean_over_tokens(target, circuit.readings[target].z - circuit.nodes[target].read(x).z)

    def _edges_to(self, chunk: range, target: int) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers of the edges from `chunk` to a site, and the source and target index of each."""
        nodes = self._space.latents_of(target) if target < self._space.n_sites else self._space.of_site(target)
        numbers = self._number[chunk.start : chunk.stop, nodes.start : nodes.stop]
        source, index = (numbers >= 0).nonzero(as_tuple=True)
        return numbers[source, index], source, index

    def _put(self, table: Tensor, chunk: range, target: int, values: Tensor) -> None:
        numbers, source, index = self._edges_to(chunk, target)
        table[numbers] = values.cpu()[source, index]

    def _put_sum(self, table: Tensor, chunk: range, target: int, values: Tensor) -> None:
        numbers, source, index = self._edges_to(chunk, target)
        table[numbers] = values.nansum(-1).cpu()[source, index]

    def _put_past(self, chunk: range, target: int, values: Tensor) -> None:
        numbers, source, index = self._edges_to(chunk, target)
        past = values.cpu()[source, index]
        self.aligned_past[numbers] = (past * self.edge[numbers].sign()).nansum(-1)

    def _put_heads(self, chunk: range, target: int, block: int, values: Tensor) -> None:
        numbers, source, index = self._edges_to(chunk, target)
        heads = values.cpu()[source, index]
        self.heads[numbers, block] = heads.nansum(-1)
        self.aligned_heads[numbers, block] = (heads * self.edge[numbers].sign().unsqueeze(1)).nansum(-1)


@torch.no_grad()
def edge_by_prompt(passes: Sequence[CircuitPass], source: int, target: int) -> Tensor:
    """Returns one exact edge, `[prompt]`; NaN on prompts without one of the target's tokens."""
    found, space = list[Tensor](), passes[0].space
    site, last = space.ends[source].site, space.ends[target].site
    for circuit in passes:
        sweep = circuit.run_changed(site, -circuit.change_of(source).unsqueeze(0), last, respond=False)
        if last == space.n_sites:
            assert sweep.logit_difference is not None
            found.append((circuit.logit_difference - sweep.logit_difference[0]).cpu())
            continue
        moved = circuit.readings[last].z - circuit.nodes[last].read(sweep.inputs[last]).z
        found.append(circuit.mean_over_tokens(last, moved)[0, target - space.of_site(last).start].cpu())
    order = torch.cat([circuit.prompts.batch.prompts for circuit in passes]).argsort().cpu()
    return torch.cat(found)[order]


@incremental
def metric_effects(passes: Sequence[CircuitPass], edges: Tensor) -> Increments[Tensor]:
    """Returns the effects `[edge, prompt]` of `edges` `[edge, 2]` on the logit difference; yields after each group."""
    found = []
    for circuit in passes:
        values = torch.zeros(len(edges), len(circuit.prompts.batch))
        for source, target, numbers in _by_sites(circuit.space, edges):
            yield from _metric_on(circuit, source, target, edges, numbers, values)
        found.append(values)
    order = torch.cat([circuit.prompts.batch.prompts for circuit in passes]).argsort().cpu()
    return torch.cat(found, 1)[:, order]


def _by_sites(space: EdgeSpace, edges: Tensor) -> Iterator[tuple[int, int, list[int]]]:
    """Yields source site, target site and the numbers of the edges between them."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (source, target) in enumerate(edges.tolist()):
        groups.setdefault((space.ends[source].site, space.ends[target].site), []).append(number)
    for (source, target), numbers in groups.items():
        yield source, target, numbers


def _metric_on(
    circuit: CircuitPass, source: int, target: int, edges: Tensor, numbers: list[int], values: Tensor
) -> Increments[None]:
    """Fills in `values` `[edge, prompt]` for the edges `numbers` between two sites on one batch."""
    space, size = circuit.space, views_at_once(circuit, circuit.space.n_sites)
    sources = sorted({int(edges[number, 0]) for number in numbers})
    for start in range(0, len(sources), size):
        chunk = sources[start : start + size]
        change = torch.stack([circuit.change_of(end) for end in chunk])
        sweep = circuit.run_changed(source, -change, target, respond=False)
        here = [number for number in numbers if int(edges[number, 0]) in chunk]
        if target == space.n_sites:
            assert sweep.logit_difference is not None
            difference = (circuit.logit_difference - sweep.logit_difference).cpu()
            for number in here:
                values[number] = difference[chunk.index(int(edges[number, 0]))]
            yield
            continue
        activation = circuit.nodes[target].read(sweep.inputs[target]).activation
        moved = circuit.delta_of(target, activation) - circuit.deltas[target]
        first = space.of_site(target).start
        pairs = [(number, chunk.index(int(edges[number, 0])), int(edges[number, 1]) - first) for number in here]
        pairs = [pair for pair in pairs if bool(moved[pair[1], pair[2]].any())]
        for begin in range(0, len(pairs), size):
            group = pairs[begin : begin + size]
            changes = torch.stack(
                [circuit.written_change(target, index, moved[view, index]) for _, view, index in group]
            )
            patched = circuit.run_changed(target, changes, space.n_sites, respond=True).logit_difference
            assert patched is not None
            values[[number for number, _, _ in group]] = (circuit.logit_difference - patched).cpu()
            yield
