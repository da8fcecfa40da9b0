"""Edges as a screen, a printer or a file shows them: immutable, plain Python, no tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tui.core.edges.ends import EndKind


class MeanSpread(NamedTuple):
    """The mean over prompts, and the standard deviation over prompts."""

    mean: float
    spread: float


class HeadShare(NamedTuple):
    """The share of an edge's frozen part whose last head on the way is this one."""

    block: int
    head: int
    value: float


@dataclass(frozen=True, slots=True)
class EndView:
    """One end of edges: a token position, a latent of the circuit, a site's SAE error, or the logit difference.

    `name` is such as ``L1 412@subject``, ``token@subject``, ``L1 error@subject`` or ``logit difference``. `site`
    indexes the sites, -1 for a token and the number of sites for the logit difference. `node` is the number in the
    `NodeTable`, None if it is no latent. `total_effect` is the loss of test faithfulness when it alone goes to its
    reference; None for the logit difference.
    """

    kind: EndKind
    name: str
    site: int
    position: str
    latent: int | None
    node: int | None
    label: str = ""
    total_effect: float | None = None


@dataclass(frozen=True, slots=True)
class EdgeView:
    """One edge: what `source` gives to `target`, numbers of ends. Positive raises the target.

    `edge` (exact, the nodes in between held), `total` (exact, all behind responding) and `frozen` are in units of the
    target's pre-activation, `activation` in those of its activation; of the logit difference both are logits.
    `metric` is the loss of test faithfulness when the target alone sees the source at its reference; None if not
    computed. `flips` is the share of the target's tokens at which its gate flips without the source. `past_heads` and
    `heads` add up to the frozen part's mean, with `rest` (through MLPs, norms and moved attention) to the edge's.
    `kept` says whether the edge is in the edge circuit.
    """

    source: int
    target: int
    edge: MeanSpread
    total: MeanSpread
    activation: MeanSpread
    flips: float
    frozen: MeanSpread
    past_heads: float
    heads: tuple[HeadShare, ...]
    metric: MeanSpread | None = None
    kept: bool = True

    @property
    def rest(self) -> float:
        """The exact edge minus the frozen part: through MLPs, norms and moved attention."""
        return self.edge.mean - self.frozen.mean

    @property
    def strength(self) -> float:
        """What edges are ordered by: the size of the effect on the metric, of the exact edge where there is none."""
        return abs(self.edge.mean if self.metric is None else self.metric.mean)


@dataclass(frozen=True, slots=True)
class EdgesView:
    """All edges of one circuit. `split` and `n_prompts` say over which prompts means are taken.

    `faithfulness` is that of the edges with `kept`, `nodes_faithfulness` that of all edges, which is the circuit's own,
    and `unconnected` with edges to the logit difference alone; None where not computed.
    """

    ends: tuple[EndView, ...]
    edges: tuple[EdgeView, ...]
    split: str
    n_prompts: int
    nodes_faithfulness: float
    faithfulness: float | None = None
    unconnected: float | None = None

    def into(self, end: int) -> list[EdgeView]:
        """The edges that feed end number `end`, strongest first."""
        return sorted((edge for edge in self.edges if edge.target == end), key=lambda edge: -edge.strength)

    def out_of(self, end: int) -> list[EdgeView]:
        """The edges from end number `end`, strongest first."""
        return sorted((edge for edge in self.edges if edge.source == end), key=lambda edge: -edge.strength)

    def end_of(self, node: int) -> int | None:
        """The end of the latent with number `node` in the `NodeTable`, None if it is not in the circuit."""
        return next((number for number, end in enumerate(self.ends) if end.node == node), None)

    def strongest(self) -> Iterator[EdgeView]:
        """All edges, strongest first."""
        return iter(sorted(self.edges, key=lambda edge: -edge.strength))
