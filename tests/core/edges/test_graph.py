"""The edge graph: every end has one place, nothing overlaps, and links are the sums of their edges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_tui.core.edges.graph import EdgeGraph, edge_graph, first_threshold, thresholds
from circuit_tui.core.edges.graph_layout import GraphLayout, lay_out
from circuit_tui.core.edges.view import EdgesView, EdgeView, EndView, MeanSpread

ZERO = MeanSpread(0.0, 0.0)


def edge(source: int, target: int, weight: float, *, kept: bool = True) -> EdgeView:
    """An edge with an effect on the metric."""
    return EdgeView(source, target, ZERO, ZERO, ZERO, 0.0, ZERO, 0.0, (), 1.0, 0.0, 0.0, MeanSpread(weight, 0.0), kept)


def view_of(counts: list[list[int]], weights: list[float], off: int = 0) -> EdgesView:
    """Edges between all neighbouring sites; `counts[site][position]` latents, a token at each position."""
    n_positions = len(counts[0])
    ends = [EndView("token", f"token@p{p}", -1, f"p{p}", None, None) for p in range(n_positions)]
    node = itertools.count()
    for site, row in enumerate(counts):
        for p, count in enumerate(row):
            for latent in range(count):
                name = f"L{site} {1000 * site + latent}@p{p}"
                ends.append(EndView("latent", name, site, f"p{p}", 1000 * site + latent, next(node), "a label"))
    ends.append(EndView("logits", "logit difference", len(counts), "", None, None))
    pairs = [
        (a, b) for a, b in itertools.product(range(len(ends)), repeat=2) if ends[a].site + 1 == ends[b].site
    ]  # fmt: skip
    edges = tuple(
        edge(a, b, weights[index % len(weights)], kept=index >= off) for index, (a, b) in enumerate(pairs)
    )  # fmt: skip
    return EdgesView(tuple(ends), edges, "test", 8, 1.0)


grids = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 7), min_size=n, max_size=n), min_size=1, max_size=5)
)
weight = st.floats(-1, 1, allow_nan=False)


def overlap(layout: GraphLayout) -> bool:
    taken: set[tuple[int, int]] = set()
    for place in layout.places:
        for cell in itertools.product(range(place.x, place.x + place.width), range(place.y, place.y + place.height)):
            if cell in taken:
                return True
            taken.add(cell)
    return False


@given(grids, st.lists(weight, min_size=1, max_size=9), st.integers(20, 160), st.integers(8, 60), weight)
def test_nothing_overlaps_and_positions_go_across_and_sites_up(
    counts: list[list[int]], weights: list[float], width: int, height: int, threshold: float
) -> None:
    graph = edge_graph(view_of(counts, weights), threshold=abs(threshold))
    layout = lay_out(graph, width, height)
    assert len(layout.places) == len(graph.boxes)
    assert not overlap(layout)
    assert layout.width >= width
    assert layout.height >= height
    for place in layout.places:
        assert place.x >= 0
        assert place.y >= 0
        assert place.width >= 3
        assert place.x + place.width <= layout.width
        assert place.y + place.height <= layout.height
    for (one, a), (other, b) in itertools.combinations(zip(graph.boxes, layout.places, strict=True), 2):
        if one.site != other.site:
            higher, lower = (a, b) if one.site > other.site else (b, a)
            assert higher.y + higher.height < lower.y, "a lane for links is between two sites"
        if one.position != other.position and "logits" not in (one.kind, other.kind):
            first, second = (a, b) if int(one.position[1:]) < int(other.position[1:]) else (b, a)
            assert first.x + first.width <= second.x


@given(grids, st.lists(weight, min_size=1, max_size=9), st.integers(0, 5), st.data())
def test_links_are_sums_of_edges_that_are_on(
    counts: list[list[int]], weights: list[float], off: int, data: st.DataObject
) -> None:
    view = view_of(counts, weights, off)
    nodes = [end.node for end in view.ends if end.node is not None]
    groups = data.draw(st.dictionaries(st.sampled_from(nodes), st.sampled_from("AB"))) if nodes else {}
    graph = edge_graph(view, groups)
    assert sum(link.weight for link in graph.links) == pytest.approx(
        sum(each.effect for each in view.edges if each.kept), abs=1e-9
    )
    shown = [end for box in graph.boxes for end in box.ends]
    assert len(shown) == len(set(shown))
    assert {number for number, end in enumerate(view.ends) if end.kind in ("latent", "logits")} <= set(shown)
    for box in graph.boxes:
        assert len({(view.ends[end].site, groups.get(view.ends[end].node or 0)) for end in box.ends}) == 1 or (
            len(box.ends) == 1
        )
    assert all(abs(a.weight) >= abs(b.weight) for a, b in itertools.pairwise(graph.links))


def graph_of(counts: list[list[int]]) -> EdgeGraph:
    return edge_graph(view_of(counts, [0.1, -0.02, 0.3]))


@pytest.mark.parametrize(
    ("nodes", "counts", "width", "height"),
    [
        (20, [[0, 3, 1, 1], [0, 2, 2, 2], [1, 2, 0, 6]], 78, 13),
        (
            90,
            [[2, 3, 1, 4, 2, 1, 2, 3, 2, 6], [1, 4, 0, 6, 2, 0, 2, 4, 1, 10], [1, 3, 0, 5, 2, 0, 1, 2, 0, 20]],
            158,
            40,
        ),
    ],
)
def test_so_many_nodes_fit_the_screen_that_is_promised(
    nodes: int, counts: list[list[int]], width: int, height: int
) -> None:
    assert sum(map(sum, counts)) == nodes
    layout = lay_out(graph_of(counts), width, height)
    assert (layout.width, layout.height) == (width, height)


def test_a_threshold_takes_links_away_and_the_tokens_they_came_from() -> None:
    view = view_of([[1, 1], [1, 0]], [0.5, 0.01, -0.2])
    whole = edge_graph(view)
    cut = edge_graph(view, threshold=0.1)
    assert whole.n_links == cut.n_links == len(whole.links)
    assert [link.weight for link in cut.links] == [link.weight for link in whole.links if abs(link.weight) >= 0.1]
    for number, box in enumerate(cut.boxes):
        assert box.kind != "token" or any(number in (link.source, link.target) for link in cut.links)


def test_thresholds_go_from_the_strongest_link_to_none() -> None:
    graph = edge_graph(view_of([[6, 6], [6, 6]], [0.5, 0.25, 0.001, -0.1, 0.02, 0.03]))
    values = list(thresholds(graph))
    assert values[0] == graph.strongest
    assert values[-1] == 0
    assert values == sorted(values, reverse=True)
    chosen = first_threshold(graph)
    assert 0 < sum(abs(link.weight) >= chosen for link in graph.links) <= max(20, 1.5 * len(graph.boxes))


def test_a_group_is_one_box_at_each_site() -> None:
    view = view_of([[2, 1], [1, 1]], [0.5])
    graph = edge_graph(view, {0: "number", 1: "number", 2: "number", 3: "number"})
    named = [box for box in graph.boxes if box.name == "▣ number"]
    assert [(box.site, box.position, len(box.ends)) for box in named] == [(0, "p0", 3), (1, "p0", 1)]


@given(grids, st.integers(30, 160))
def test_the_cursor_reaches_every_box(counts: list[list[int]], width: int) -> None:
    layout = lay_out(graph_of(counts), width, 20)
    order = sorted(range(len(layout.places)), key=lambda number: (layout.places[number].y, layout.places[number].x))
    at, seen = order[0], [order[0]]
    for _ in layout.places[1:]:
        at = layout.step(at, 1, 0)
        seen.append(at)
    assert seen == order
    for box, place in enumerate(layout.places):
        up, down = layout.step(box, 0, 1), layout.step(box, 0, -1)
        assert up == box or layout.places[up].y < place.y
        assert down == box or layout.places[down].y > place.y
