"""The rows of the circuit table and their order: filter, sort, kept or all, expanded or not.

There is no widget here. `core/latents/node_list.py` filters and sorts; a row is made when it is looked at, so that a
list of a hundred thousand nodes changes within a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import override

from circuit_tui.core.latents.node_filter import NumberTerm, Term, TextTerm, WordTerm, parse_leniently
from circuit_tui.core.latents.views import LatentColumns, UserWords
from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.circuit_columns import COLUMNS, LATENT_CELLS, Column

if TYPE_CHECKING:
    from circuit_tui.core.latents.node_list import Listing


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


class LazyRows(Sequence[Row]):
    """Rows that are made when they are looked at. Two looks at the same row give equal rows."""

    def __init__(self, codes: Any, make: Callable[[int], Row]) -> None:
        self.codes, self._make = codes, make

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    @override
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._make(code) for code in self.codes[index].tolist()]
        return self._make(int(self.codes[index]))


class CircuitRows:
    """The rows of the circuit table.

    They are ordered when the user asks for it (sort, filter, kept or all), when the whole circuit is replaced, and when
    numbers or tokens arrive that a filter or an order has waited for. A toggle changes no order and removes no row: a
    node that was just switched off stays, to be switched on again.

    Attributes:
        flat: whether latents of all sites are sorted together, without headings.
        filter_error: what cannot be read in the filter; empty if all can.
    """

    def __init__(self, table: NodeTable) -> None:
        from circuit_tui.core.latents.node_list import NodeList  # numpy, which torch has imported by now

        self.table = table
        self.nodes = NodeList(table)
        self.sort: Column = "latent"
        self.reverse = False
        self.flat = False
        self.filter, self.filter_error = "", ""
        self.show_all = True
        self.expanded: set[tuple[int, int]] = set()
        self.folded: set[int] = set()
        self.hidden: frozenset[Column] = frozenset()
        self.shares: Mapping[int, float] = {}
        self.latent_columns: LatentColumns | None = None
        self.said = UserWords()
        self._circuit: CircuitView | None = None
        self._members = self.nodes.kept
        self._terms: tuple[Term, ...] = ()
        self._sought: tuple[Term, ...] = ()
        self._lacked_effects = False
        self._largest_effect = 0.0
        self.rebuild()

    def set_circuit(self, circuit: CircuitView, *, whole: bool) -> bool:
        """Take a new circuit; `whole` if it is no edit of the old one. Returns whether the rows may differ."""
        self._circuit = circuit
        self.nodes.set_circuit(circuit.kept, circuit.effect)
        self._largest_effect = self.nodes.largest_effect
        if whole:
            self._members = self.nodes.kept
            return self.rebuild()
        had = int(self._members.sum())
        self._members = self._members | self.nodes.kept
        arrived = self._lacked_effects and circuit.effects_done == circuit.size
        if arrived or (not self.show_all and int(self._members.sum()) > had):
            return self.rebuild()
        return False

    def set_latent_columns(self, columns: LatentColumns) -> bool:
        """Take push and tokens as far as they are computed. Returns whether the rows may differ."""
        before, self.latent_columns = self.latent_columns, columns
        self.nodes.add_columns(columns)
        new_push = before is None or before.push is not columns.push
        new_tokens = before is None or before.tokens_done != columns.tokens_done
        if (new_push and self._needs("push")) or (new_tokens and self.seeks_tokens):
            return self.rebuild()
        return False

    def set_words(self, words: UserWords) -> None:
        """Take the user's labels, marks and groups. The rows stay where they are."""
        self.said = words
        self.nodes.set_words(words)

    def set_shares(self, shares: Mapping[int, float]) -> None:
        """Take the share of an audit's searches that chose each node."""
        self.shares = shares
        self.nodes.set_shares(shares)

    def forget_dropped(self) -> None:
        """Drop the rows of nodes that have been switched off since the rows were ordered."""
        self._members = self.nodes.kept

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that can be shown: those that the user has not hidden, the shares only while they are known."""
        return tuple(c for c in COLUMNS if c not in self.hidden and (c != "share" or self.shares))

    @property
    def latent_cells(self) -> int:
        """The cells of the latent column: in a flat list the name of a latent begins with its site."""
        if not self.flat:
            return LATENT_CELLS
        return max(LATENT_CELLS, 6 + max(len(f"{site.short}/{site.d_sae - 1}") for site in self.table.sites))

    @property
    def seeks_tokens(self) -> bool:
        """Whether filter or order depend on the tokens that latents promote or suppress."""
        words = any(isinstance(term, TextTerm) for term in self._terms)
        return words or self._needs("promotes") or self._needs("suppresses")

    def _needs(self, column: str) -> bool:
        compared = [term.column for term in self._terms if isinstance(term, NumberTerm | WordTerm)]
        return column in compared or column == self.sort

    def rebuild(self) -> bool:
        """Choose and order the rows again. Always returns True: the rows may differ now."""
        self._terms, self.filter_error = parse_leniently(self.filter)
        self._sought = self._terms or self._sought
        mask = self.nodes.matching(self._terms)
        if not self.show_all:
            mask = mask & self._members
        sort = {"position": "pos", "bar": "effect"}.get(self.sort, self.sort)
        self._listing = self.nodes.listing(mask, sort, reverse=self.reverse, by_site=not self.flat)
        self.n_listed = len(self._listing.nodes)
        circuit = self._circuit
        needs_effects = self._needs("effect") or self.sort == "bar"
        self._lacked_effects = needs_effects and circuit is not None and circuit.effects_done < circuit.size
        self._listed_by_site = self.nodes.count_by_site(self._listing)
        self.rows = LazyRows(self.nodes.row_codes(self._listing, self.folded, self.expanded, flat=self.flat), self._row)
        return True

    @property
    def listed(self) -> tuple[int, ...]:
        """The nodes that are listed, ascending."""
        return tuple(self._listing.nodes.tolist())

    def _row(self, code: int) -> Row:
        """The row of a code of `NodeList.row_codes`."""
        if code < 0:
            return SiteRow(-1 - code, self._listed_by_site[-1 - code])
        listing: Listing = self._listing
        if code >= len(listing.runs):
            node = code - len(listing.runs)
            return NodeRow(self.table.site[node], self.table.latent[node], node)
        run, nodes = int(listing.runs[code]), listing.nodes_of(code)
        site, latent = int(self.nodes.run_site[run]), int(self.nodes.run_latent[run])
        return LatentRow(site, latent, nodes, len(nodes) > 1 and (site, latent) in self.expanded)

    def value(self, nodes: tuple[int, ...], column: Column) -> float | None:
        """The value of a numeric column for `nodes` of one latent, as in `NodeList.value`; None if it is not known."""
        return self.nodes.value("effect" if column == "bar" else column, nodes)

    def effect_share(self, nodes: tuple[int, ...]) -> float | None:
        """The effect of `nodes` over the largest one of the circuit, between -1 and 1; None if it is not known."""
        effect = self.value(nodes, "effect")
        return None if effect is None or not self._largest_effect else effect / self._largest_effect

    def words(self, row: LatentRow | NodeRow) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The label of a row's latent, and the tokens that it promotes and suppresses, as far as known."""
        run = self.nodes.run(row.site, row.latent)
        assert run is not None
        return self.nodes.label[run], self.nodes.promotes[run], self.nodes.suppresses[run]

    def kept(self, nodes: tuple[int, ...]) -> int:
        """How many of `nodes` are in the circuit."""
        if self._circuit is None:
            return 0
        kept = self._circuit.kept
        return sum(kept[i] for i in nodes)

    @property
    def n_shown(self) -> int:
        """How many nodes are listed; if only kept ones are, those switched off since do not count."""
        return self.n_listed if self.show_all else int(self.nodes.kept[self._listing.nodes].sum())

    def site_size(self, site: int) -> int:
        """How many nodes of `site` are in the circuit."""
        return 0 if self._circuit is None else self._circuit.size_by_site[site]

    def find(self, key: tuple[int, ...]) -> int | None:
        """The index of the row with `key`, or else of the latent or site that it belongs to."""
        codes, listing = self.rows.codes, self._listing
        wanted = [-1 - key[0]]
        if len(key) > 1 and (code := self.nodes.listed_at(listing, key[0], key[1])) is not None:
            wanted.append(code)
        if len(key) > 2:
            wanted.append(len(listing.runs) + key[2])
        for code in reversed(wanted):
            found = (codes == code).nonzero()[0]
            if len(found):
                return int(found[0])
        return None

    def reveal(self, node: int, *, latent: bool = False) -> int | None:
        """Make sure that `node` has a row, clearing the filter if it hides the node, and return the row's index.

        With `latent` it is the row of its latent, which is not expanded.
        """
        table = self.table
        key = (table.site[node], table.latent[node])
        if node not in self._listing.nodes:
            self.filter = ""
            self.show_all = self.show_all or not self._members[node]
        self.folded.discard(key[0])
        if not latent:
            self.expanded.add(key)
        self.rebuild()
        return self.find(key if latent else (*key, node))

    def next_match(self, index: int, step: int) -> int | None:
        """The index of the next row after `index`, or before it, that meets the last filter; None if there is none.

        After the last row comes the first. The filter need not be in force any more.
        """
        if not self._sought:
            return None
        mask, count = self.nodes.matching(self._sought), len(self.rows)
        for away in range(1, count + 1):
            at = (index + step * away) % count
            row = self.rows[at]
            nodes = row.nodes if isinstance(row, LatentRow) else (row.node,) if isinstance(row, NodeRow) else ()
            if any(mask[node] for node in nodes):
                return at
        return None
