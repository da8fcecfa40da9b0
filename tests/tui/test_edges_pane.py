"""The edges pane: it follows edges and comes back, switches them, and belongs to one circuit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_session import FakeSession
from waiting import ready, searched, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.widgets.edge_graph import EdgeGraphView
from circuit_tui.tui.widgets.edge_why import EdgeWhy
from circuit_tui.tui.widgets.edges_pane import EdgeList

Make = Callable[..., ExplorerApp]
NARROW = (80, 24)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(latents=12, search_steps=20)


async def opened(pilot: Any) -> EdgeList:
    """The pane, with the edges of a found circuit."""
    await ready(pilot)
    await searched(pilot)
    await settled(pilot)
    await pilot.press("7")
    edges: EdgeList = pilot.app.main.panes.edges.list
    await wait_for(pilot, lambda: edges.view is not None and isinstance(pilot.app.focused, EdgeList))
    return edges


async def test_it_shows_what_a_node_feeds_and_follows_edges(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        assert edges.view is not None
        await shows(pilot, "fed by", "feeds", "metric")
        start, row = edges.at, app.main.panes.circuit.table.current
        assert isinstance(row, LatentRow)
        assert edges.view.ends[start].node in row.nodes  # what is under the circuit's cursor
        into, out = edges.view.into(start), edges.view.out_of(start)
        assert edges.current == into[0]
        await pilot.press(*["j"] * (len(into) + 1))
        assert edges.current == out[0]
        await pilot.press("enter")
        await wait_for(pilot, lambda: edges.at == out[0].target)
        await shows(pilot, f"{edges.view.ends[out[0].target].name}  from {edges.view.ends[start].name}")
        await pilot.press("enter")
        assert len(edges.trail) == 2
        await pilot.press("backspace", "backspace")
        assert edges.at == start
        assert edges.trail == []
        await pilot.press("backspace")
        assert edges.at == start


async def test_what_is_looked_at_is_computed_first(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        assert edges.current is not None
        wanted = edges.current.source
        await pilot.press("enter")
        await wait_for(pilot, lambda: f"edges {wanted}" in session.calls)


async def test_space_switches_the_edge_and_the_faithfulness_follows(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        edge = edges.current
        assert edge is not None
        assert edge.metric is not None
        before = session.kept
        await pilot.press("space")
        await shows(pilot, f"faithfulness {0.95 - edge.metric.mean:.3f}", "○")
        assert session.kept == before  # no node was switched
        assert edges.current is not None
        assert not edges.current.kept
        await pilot.press("space")
        await shows(pilot, "faithfulness 0.950")


async def test_a_heading_is_no_edge(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        start = edges.at
        await pilot.press("g", "enter", "space")
        await wait_for(pilot, lambda: any("No edge" in n.message for n in app._notifications))
        assert edges.at == start


async def test_the_edges_of_another_circuit_are_computed_anew(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        assert edges.view is not None
        count = len(edges.view.ends)
        await pilot.press("1", "j", "j", "space", "7")
        await wait_for(pilot, lambda: edges.view is not None and len(edges.view.ends) == count - 1)


async def test_right_says_why_the_head_looks_there(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        edges = await opened(pilot)
        edge = edges.current
        assert edge is not None
        await pilot.press("right")
        await shows(pilot, "head 1.3 looks from 3 runs to 1 The with 75.0%", "L0/7", "L0/9", "40 other pairs", "75%")
        assert f"why {edge.source} {edge.target} None" in session.calls
        assert isinstance(app.focused, EdgeWhy)
        await pilot.press("left", "space")  # there is no head before, and no edge to switch
        await wait_for(pilot, lambda: any("No edge" in n.message for n in app._notifications))
        await pilot.press("right")
        await shows(pilot, "head 1.0 looks from")
        assert f"why {edge.source} {edge.target} (1, 0)" in session.calls
        await pilot.press("backspace")
        await shows(pilot, "|edge|")
        assert isinstance(app.focused, EdgeList)
        assert edges.current is not None
        assert (edges.current.source, edges.current.target) == (edge.source, edge.target)
        await pilot.press("g", "right")  # a heading is no edge
        assert isinstance(app.focused, EdgeList)


async def in_graph(pilot: Any) -> EdgeGraphView:
    """The graph of a found circuit."""
    await opened(pilot)
    await pilot.press("v")
    graph: EdgeGraphView = pilot.app.main.panes.edges.graph
    await wait_for(pilot, lambda: graph.graph is not None and isinstance(pilot.app.focused, EdgeGraphView))
    return graph


@pytest.mark.parametrize("size", [NARROW, (160, 50)], ids=["narrow", "wide"])
async def test_v_draws_the_edges_and_v_lists_them_again(explorer: Make, size: tuple[int, int]) -> None:
    app = explorer()
    async with app.run_test(size=size) as pilot:
        graph = await in_graph(pilot)
        edges = app.main.panes.edges.list
        await shows(pilot, "links", "raises", "lowers the answer", "logit difference", "fed by", "feeds")
        assert graph.at == edges.at
        await pilot.press("v")
        await shows(pilot, "|edge|")
        assert isinstance(app.focused, EdgeList)
        assert not graph.display


async def test_the_cursor_goes_from_box_to_box_and_enter_lists_its_edges(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        graph = await in_graph(pilot)
        assert graph.graph is not None
        view = app.main.panes.edges.list.view
        assert view is not None
        before = graph.at
        await pilot.press("up")
        await wait_for(pilot, lambda: graph.at != before)
        assert view.ends[graph.at].site > view.ends[before].site
        await wait_for(pilot, lambda: f"edges {graph.at}" in session.calls)
        await pilot.press("left", "right", "down")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.focused, EdgeList))
        assert app.main.panes.edges.list.at == graph.at


async def test_plus_and_minus_move_the_threshold(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        graph = await in_graph(pilot)
        assert graph.graph is not None
        first = len(graph.graph.links)
        await pilot.press(*["plus"] * 40)
        assert {abs(link.weight) for link in graph.graph.links} == {graph.graph.strongest}
        await pilot.press(*["minus"] * 60)
        assert len(graph.graph.links) == graph.graph.n_links >= first
        await shows(pilot, f"{graph.graph.n_links} of {graph.graph.n_links} links")


async def test_a_group_is_one_box_until_b_takes_it_apart(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        graph = await in_graph(pilot)
        view = app.main.panes.edges.list.view
        assert view is not None
        nodes = [end.node for end in view.ends if end.kind == "latent" and end.site == 1]
        assert len(nodes) > 1
        app.main.panes.edges.set_groups({node: "number" for node in nodes if node is not None})
        await shows(pilot, "▣ number")
        assert graph.graph is not None
        count = len(graph.graph.boxes)
        await pilot.press("b")
        await wait_for(pilot, lambda: graph.graph is not None and len(graph.graph.boxes) == count + len(nodes) - 1)


async def test_in_the_graph_no_edge_is_under_the_cursor(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await in_graph(pilot)
        await pilot.press("space")
        await wait_for(pilot, lambda: any("No edge" in n.message for n in app._notifications))
        assert not [call for call in session.calls if call.startswith("switch edge")]


async def test_the_graph_of_an_empty_circuit_says_what_to_do(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("7", "v", "plus", "left", "enter", "b", "minus")
        await shows(pilot, "what each node gives to each other")


async def test_an_empty_circuit_has_none(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("7")
        await shows(pilot, "the circuit is empty", "what each node gives to each other")
        await pilot.press("space")
        await wait_for(pilot, lambda: any("No edge" in n.message for n in app._notifications))
