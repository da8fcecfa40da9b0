"""The faithfulness of an edge circuit: every target sees only its parents, every other source at its reference.

One view for each distinct parent set gives all targets that have it. With all edges kept the circuit does what the
circuit of its nodes does. A change of a few edges computes anew only the targets whose parents, or whose parents'
values, have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.effects import views_at_once
from circuit_tui.core.edges.ends import EdgeSpace
from circuit_tui.core.evaluation.metrics import Baselines
from circuit_tui.core.runtime.incremental import Increments, incremental


@dataclass(frozen=True, slots=True)
class EdgeState:
    """An edge circuit on one batch.

    Attributes:
        kept: `[source, target]` bool, the edges.
        deltas: for each site `[node, row, position]`, activation minus reference of each node.
        logit_difference: `[prompt]`.
    """

    kept: Tensor
    deltas: tuple[Tensor, ...]
    logit_difference: Tensor


def all_edges(circuit: CircuitPass) -> EdgeState:
    """The edge circuit with all edges, which is the circuit itself."""
    return EdgeState(circuit.space.possible, tuple(circuit.deltas), circuit.logit_difference)


@incremental
def with_edges(circuit: CircuitPass, state: EdgeState, kept: Tensor) -> Increments[EdgeState]:
    """Returns the edge circuit `kept` `[source, target]` bool, computed from `state`; yields after each site."""
    space, deltas = circuit.space, list(state.deltas)
    changed = torch.zeros(len(space), dtype=torch.bool)
    differs = (kept != state.kept).any(0)
    for site in range(space.n_sites):
        ends = space.latents_of(site)
        due = [end for end in ends if differs[end] or bool((kept[:, end] & changed).any())]
        if not due:
            continue
        before, after = deltas[site], deltas[site].clone()
        sees, view_of = kept[:, due].t().unique(dim=0, return_inverse=True)
        size = views_at_once(circuit, site)
        for start in range(0, len(sees), size):
            x = circuit.run_views(sees[start : start + size], site, deltas).inputs[site]
            delta = circuit.delta_of(site, circuit.nodes[site].read(x).activation)
            for end, view in zip(due, view_of.tolist(), strict=True):
                if start <= view < start + size:
                    after[end - ends.start] = delta[view - start, end - ends.start]
        deltas[site] = after
        moved = (after != before).flatten(1).any(1).cpu()
        changed[ends.start : ends.stop] = moved
        yield
    logits = len(space) - 1
    if not differs[logits] and not bool((kept[:, logits] & changed).any()):
        return EdgeState(kept, tuple(deltas), state.logit_difference)
    metric = circuit.run_views(kept[:, logits].unsqueeze(0), space.n_sites, deltas).logit_difference
    assert metric is not None
    yield
    return EdgeState(kept, tuple(deltas), metric[0])


class EdgeCircuit:
    """An edge circuit on some prompts, kept through its changes.

    Args:
        passes: the circuit of its nodes on the prompts.
        baselines: M and the empty circuit on all prompts of the split.

    Attributes:
        kept: `[source, target]` bool, the edges.
        faithfulness: against M, on these prompts.
    """

    def __init__(self, passes: Sequence[CircuitPass], baselines: Baselines) -> None:
        self._passes = passes
        prompts = torch.cat([circuit.prompts.batch.prompts for circuit in passes]).cpu()
        self._plain = float(baselines.plain.logit_diff[prompts].double().mean())
        self._empty = float(baselines.empty.logit_diff[prompts].double().mean())
        self._states = [all_edges(circuit) for circuit in passes]
        self.faithfulness = self._faithfulness(self._states)

    @property
    def space(self) -> EdgeSpace:
        """All edges that there can be."""
        return self._passes[0].space

    @property
    def kept(self) -> Tensor:
        """`[source, target]` bool, the edges."""
        return self._states[0].kept

    @property
    def size(self) -> int:
        """Number of edges."""
        return int(self.kept.sum())

    @property
    def gap(self) -> float:
        """m(M) - m(empty) on these prompts."""
        return self._plain - self._empty

    @incremental
    def measure(self, kept: Tensor) -> Increments[tuple[list[EdgeState], float]]:
        """Returns the states and the faithfulness of the edge set `kept`, to be taken over by `adopt`."""
        states = []
        for circuit, state in zip(self._passes, self._states, strict=True):
            states.append((yield from with_edges(circuit, state, kept)))
        return states, self._faithfulness(states)

    def adopt(self, states: list[EdgeState], faithfulness: float) -> None:
        """Goes on from an edge set that `measure` has measured."""
        self._states, self.faithfulness = states, faithfulness

    @incremental
    def change_to(self, kept: Tensor) -> Increments[float]:
        """Changes the edges to `kept` and returns the faithfulness."""
        states, faithfulness = yield from self.measure(kept)
        self.adopt(states, faithfulness)
        return faithfulness

    def _faithfulness(self, states: Sequence[EdgeState]) -> float:
        mean = float(torch.cat([state.logit_difference for state in states]).double().mean())
        return (mean - self._empty) / self.gap if abs(self.gap) > 1e-6 else float("nan")
