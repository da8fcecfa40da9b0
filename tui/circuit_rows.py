"""The rows of the circuit table and their order: filter, sort, kept or all, expanded or not.

There is no widget here: a table of twenty thousand nodes is sorted, filtered and tested in plain Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.circuit_columns import COLUMNS, TEXT_COLUMNS, Column


@dataclass(frozen=True, slots=True)
class SiteRow:
    """The heading of a site. `listed` counts the nodes that pass the filter."""

    site: int
    listed: int


@dataclass(frozen=True, slots=True)
class LatentRow:
    """One latent and those of its nodes (positions) that are listed."""

    site: int
    latent: int
    nodes: tuple[int, ...]
    expanded: bool


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One position of an expanded latent."""

    site: int
    latent: int
    node: int


Row = SiteRow | LatentRow | NodeRow


def row_key(row: Row) -> tuple[int, ...]:
    """Site, latent and node of a row, as far as it has them: the cursor follows them when rows come and go."""
    match row:
        case SiteRow(site):
            return (site,)
        case LatentRow(site, latent):
            return (site, latent)
        case NodeRow(site, latent, node):
            return (site, latent, node)


class CircuitRows:
    """The rows of the circuit table.

    They are ordered when the user asks for it (sort, filter, kept or all) and when the whole circuit is replaced. A
    toggle changes no order and removes no row: a node that was just switched off stays, to be switched on again.
    """

    def __init__(self, table: NodeTable) -> None:
        self.table = table
        self.sort: Column = "latent"
        self.reverse = False
        self.filter = ""
        self.show_all = True
        self.expanded: set[tuple[int, int]] = set()
        self.folded: set[int] = set()
        self.hidden: frozenset[Column] = frozenset()
        self._members = b""
        self._circuit: CircuitView | None = None
        self.shares: Mapping[int, float] = {}
        self._groups = _groups(table)
        self._search_text = [
            f"{table.sites[s].short} {k} {table.label[i]} {table.positions[p]}".lower()
            for i, (s, k, p) in enumerate(zip(table.site, table.latent, table.position, strict=True))
        ]
        self.rows: list[Row] = []
        self.listed: tuple[int, ...] = ()

    def set_circuit(self, circuit: CircuitView, *, whole: bool) -> bool:
        """Take a new circuit; `whole` if it is no edit of the old one. Returns whether the rows may differ."""
        self._circuit = circuit
        if whole:
            self._members = circuit.kept
            return self.rebuild()
        added = [i for i, kept in enumerate(circuit.kept) if kept and not self._members[i]]
        if not added:
            return False
        members = bytearray(self._members)
        for node in added:
            members[node] = 1
        self._members = bytes(members)
        if self.show_all:
            return False
        return self.rebuild()

    def forget_dropped(self) -> None:
        """Drop the rows of nodes that have been switched off since the rows were ordered."""
        if self._circuit is not None:
            self._members = self._circuit.kept

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that can be shown: those that the user has not hidden, the shares only while they are known."""
        return tuple(c for c in COLUMNS if c not in self.hidden and (c != "share" or self.shares))

    def rebuild(self) -> bool:
        """Choose and order the rows again. Always returns True: the rows may differ now."""
        by_site: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in self.table.sites]
        listed: list[int] = []
        terms = self.filter.lower().split()
        members, text, show_all = self._members, self._search_text, self.show_all
        for site, latent, start, stop in self._groups:
            nodes = [
                i for i in range(start, stop) if (show_all or members[i]) and all(term in text[i] for term in terms)
            ]
            if nodes:
                by_site[site].append((latent, tuple(nodes)))
                listed += nodes
        self.listed = tuple(listed)
        self.rows = []
        for site, group in enumerate(by_site):
            if self.sort != "latent":
                group.sort(key=lambda item: self._sort_key(item[1]), reverse=self.sort not in TEXT_COLUMNS)
            if self.reverse:
                group.reverse()
            self._emit(site, group)
        return True

    def _emit(self, site: int, group: list[tuple[int, tuple[int, ...]]]) -> None:
        self.rows.append(SiteRow(site, sum(len(nodes) for _, nodes in group)))
        if site in self.folded:
            return
        for latent, nodes in group:
            expanded = len(nodes) > 1 and (site, latent) in self.expanded
            self.rows.append(LatentRow(site, latent, nodes, expanded))
            if expanded:
                self.rows += [NodeRow(site, latent, node) for node in nodes]

    def _sort_key(self, nodes: tuple[int, ...]) -> tuple[float, ...] | str:
        table = self.table
        match self.sort:
            case "position":
                return tuple(float(table.position[i]) for i in nodes)
            case "label":
                return table.label[nodes[0]].lower() or "\U0010ffff"
            case _:
                value = self.value(nodes, self.sort)
                return (float("-inf") if value is None else value,)

    def value(self, nodes: tuple[int, ...], column: Column) -> float | None:
        """The value of a numeric column for `nodes` of one latent: their largest; None if it is not known."""
        table = self.table
        match column:
            case "clean":
                return max(table.mean_clean[i] for i in nodes)
            case "corrupt":
                return max(table.mean_corrupt[i] for i in nodes)
            case "max":
                return max(table.max[i] for i in nodes)
            case "freq":
                return max(table.frequency[i] for i in nodes)
            case "effect":
                effects = [e for i in nodes if self._circuit and (e := self._circuit.effect[i]) is not None]
                return max(effects, key=abs, default=None)
            case "share":
                return max((self.shares.get(i, 0.0) for i in nodes), default=None) if self.shares else None
            case _:
                return None

    def kept(self, nodes: tuple[int, ...]) -> int:
        """How many of `nodes` are in the circuit."""
        if self._circuit is None:
            return 0
        kept = self._circuit.kept
        return sum(kept[i] for i in nodes)

    def site_size(self, site: int) -> int:
        """How many nodes of `site` are in the circuit."""
        return 0 if self._circuit is None else self._circuit.size_by_site[site]

    def find(self, key: tuple[int, ...]) -> int | None:
        """The index of the row with `key`, or else of the latent or site that it belongs to."""
        best = None
        for index, row in enumerate(self.rows):
            own = row_key(row)
            if own == key:
                return index
            if key[: len(own)] == own:
                best = index
        return best

    def reveal(self, node: int) -> int | None:
        """Make sure that `node` has a row, clearing the filter if it hides the node, and return the row's index."""
        table = self.table
        site, latent = table.site[node], table.latent[node]
        if node not in self.listed:
            self.filter = ""
            self.show_all = self.show_all or not self._members[node]
        self.folded.discard(site)
        self.expanded.add((site, latent))
        self.rebuild()
        return self.find((site, latent, node))


def _groups(table: NodeTable) -> list[tuple[int, int, int, int]]:
    """Runs of nodes with the same site and latent: (site, latent, first node, one past the last node)."""
    groups: list[tuple[int, int, int, int]] = []
    start = 0
    for i in range(1, len(table) + 1):
        if i == len(table) or (table.site[i], table.latent[i]) != (table.site[start], table.latent[start]):
            groups.append((table.site[start], table.latent[start], start, i))
            start = i
    return groups
