"""Edges as a screen, a printer or a file shows them: immutable, plain Python, no tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

EndKind = Literal["token", "latent", "error", "logits"]


class MeanSpread(NamedTuple):
    """The mean over prompts, and the standard deviation over prompts."""

    mean: float
    spread: float


class HeadShare(NamedTuple):
    """The part of an edge's frozen part whose last head on the way is this one; `aligned` as in `EdgeView`."""

    block: int
    head: int
    value: float
    aligned: float


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
    target's pre-activation, `activation` in those of its activation; of the logit difference both are logits. `flips`
    is the share of the target's tokens at which its gate flips without the source. `past_heads` and the heads' values
    add up to the frozen part's mean, with `rest` to the edge's.

    What raises the target on some prompts may lower it on others. `size` is the mean of |edge|; the `aligned` numbers
    are means of the parts with the sign that makes each prompt's edge positive, and add up to it with `aligned_rest`.

    `metric` is the loss of faithfulness when the target alone sees the source at its reference, None if not computed;
    `attribution` is its first-order estimate, the activation's change times the gradient of the logit difference by it,
    None where a prompt has no answers. `kept` says whether the edge is in the edge circuit.
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
    size: float
    aligned_past_heads: float
    attribution: float | None
    metric: MeanSpread | None = None
    kept: bool = True

    @property
    def rest(self) -> float:
        """The exact edge minus the frozen part: through MLPs, norms and moved attention."""
        return self.edge.mean - self.frozen.mean

    @property
    def aligned_rest(self) -> float:
        """The same of the aligned numbers."""
        return self.size - self.aligned_past_heads - sum(head.aligned for head in self.heads)

    @property
    def effect(self) -> float:
        """The effect on the metric, or its estimate; where a prompt has no answers the edge's size, with its sign."""
        if self.metric is not None:
            return self.metric.mean
        return math.copysign(self.size, self.edge.mean) if self.attribution is None else self.attribution

    @property
    def strength(self) -> float:
        """What edges are ordered by: the size of `effect`."""
        return abs(self.effect)


@dataclass(frozen=True, slots=True)
class EdgesView:
    """All edges of one circuit. `split` and `n_prompts` say over which prompts means are taken.

    `faithfulness` is that of the edges with `kept`, `nodes_faithfulness` that of all edges, which is the circuit's own,
    and `unconnected` with edges to the logit difference alone; None where not computed, or where a prompt has no
    answers.
    """

    ends: tuple[EndView, ...]
    edges: tuple[EdgeView, ...]
    split: str
    n_prompts: int
    nodes_faithfulness: float | None
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
