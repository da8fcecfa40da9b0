"""The edges of a circuit as boxes and links: what is drawn and how strong it is, before anything has a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circuit_tui.core.edges.view import EdgesView, EndKind

FEWEST_LINKS, LINKS_PER_BOX = 20, 1.5
"""The first threshold shows at most so many links, in all or for each box."""
STEP = 2**0.5
"""From one threshold to the next."""
LEAST_SHARE = 1e-4
"""The lowest threshold, as a share of the strongest link."""


@dataclass(frozen=True, slots=True)
class GraphBox:
    """One box: an end of edges, or those latents of one group that are at one site.

    Attributes:
        ends: their numbers in the `EdgesView`.
        kind: that of the ends.
        site: as in `EndView`.
        position: where it stands; of a group, the position of most of its latents.
        name: what tells it from its neighbours: the latent's number, the group's name, the position of a token.
        label: what is known of it beside; may be empty.
    """

    ends: tuple[int, ...]
    kind: EndKind
    site: int
    position: str
    name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class GraphLink:
    """All edges from one box to another. `weight` is the sum of their effects; a positive one raises the answer."""

    source: int
    target: int
    weight: float


@dataclass(frozen=True, slots=True)
class EdgeGraph:
    """Boxes and links.

    Attributes:
        boxes: of latents all, of tokens and errors those with a link.
        links: those at or above the threshold, the strongest first; `source` and `target` are numbers of boxes.
        positions: the names of the positions that have boxes, in the order of the prompt.
        sites: for each site that has boxes its short name; of tokens and the logit difference too.
        n_links: how many links there are without a threshold.
        strongest: the largest |weight| of all links.
    """

    boxes: tuple[GraphBox, ...]
    links: tuple[GraphLink, ...]
    positions: tuple[str, ...]
    sites: Mapping[int, str]
    n_links: int
    strongest: float

    def box_of(self, end: int) -> int | None:
        """The box that has end number `end`; None if it is not shown."""
        return next((number for number, box in enumerate(self.boxes) if end in box.ends), None)


def edge_graph(view: EdgesView, groups: Mapping[int, str] | None = None, threshold: float = 0.0) -> EdgeGraph:
    """Returns the graph of the edges of `view` that are on.

    Args:
        view: the edges.
        groups: for nodes of the `NodeTable` the name of the group that takes them into one box.
        threshold: links of a smaller |weight| are left out.
    """
    boxes, box_of = _boxes(view, groups or {})
    weights: dict[tuple[int, int], float] = {}
    for edge in view.edges:
        if edge.kept:
            pair = box_of[edge.source], box_of[edge.target]
            weights[pair] = weights.get(pair, 0.0) + edge.effect
    shown = {pair: weight for pair, weight in weights.items() if abs(weight) >= threshold}
    linked = {number for pair in shown for number in pair}
    kept = [number for number, box in enumerate(boxes) if box.kind in ("latent", "logits") or number in linked]
    place = {number: index for index, number in enumerate(kept)}
    links = [GraphLink(place[source], place[target], weight) for (source, target), weight in shown.items()]
    used = tuple(boxes[number] for number in kept)
    order = dict.fromkeys(end.position for end in view.ends if end.position)
    return EdgeGraph(
        used,
        tuple(sorted(links, key=lambda link: -abs(link.weight))),
        tuple(position for position in order if any(box.position == position for box in used)),
        {box.site: _site_name(view, box) for box in used},
        len(weights),
        max(map(abs, weights.values()), default=0.0),
    )


def thresholds(graph: EdgeGraph) -> Iterator[float]:
    """Yields the thresholds that can be chosen, from the weight of the strongest link down."""
    value = graph.strongest
    while value > LEAST_SHARE * graph.strongest:
        yield value
        value /= STEP
    yield 0.0


def first_threshold(graph: EdgeGraph) -> float:
    """Returns the lowest threshold at which a graph without threshold has few enough links to be read."""
    most = max(FEWEST_LINKS, LINKS_PER_BOX * len(graph.boxes))
    chosen = graph.strongest
    for value in thresholds(graph):
        if sum(abs(link.weight) >= value for link in graph.links) > most:
            break
        chosen = value
    return chosen


def _boxes(view: EdgesView, groups: Mapping[int, str]) -> tuple[list[GraphBox], dict[int, int]]:
    """The boxes of all ends, and for each end the number of its box."""
    members: dict[tuple[object, ...], list[int]] = {}
    for number, end in enumerate(view.ends):
        group = None if end.node is None else groups.get(end.node)
        members.setdefault(("end", number) if group is None else ("group", end.site, group), []).append(number)
    boxes, box_of = list[GraphBox](), dict[int, int]()
    for key, ends in members.items():
        box_of |= dict.fromkeys(ends, len(boxes))
        first = view.ends[ends[0]]
        if key[0] == "group":
            positions = [view.ends[end].position for end in ends]
            usual = max(positions, key=positions.count)
            boxes.append(GraphBox(tuple(ends), "latent", first.site, usual, f"▣ {key[2]}", f"{len(ends)} latents"))
            continue
        name = {
            "token": first.position, "error": "error", "logits": "logit difference", "latent": str(first.latent),
        }[first.kind]  # fmt: skip
        boxes.append(GraphBox(tuple(ends), first.kind, first.site, first.position, name, first.label))
    return boxes, box_of


def _site_name(view: EdgesView, box: GraphBox) -> str:
    return {"token": "tokens", "logits": ""}.get(box.kind, view.ends[box.ends[0]].name.partition(" ")[0])
