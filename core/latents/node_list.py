"""Lists candidate nodes: filtered, grouped by latent, sorted by any column, within milliseconds for 100,000 of them.

A latent's value in a column of numbers is the largest of its listed nodes; in `effect` and `push` it is the one
furthest from 0. Values that are not known are NaN here: they meet no comparison, and sort last in either direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit_tui.core.latents.node_filter import NumberTerm, StateTerm, Term, TextTerm, WordTerm
from circuit_tui.core.latents.views import LatentColumns, UserWords
from circuit_tui.core.views import NodeTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
SIGNED = ("effect", "push")
"""Columns in which a latent's value is the one furthest from 0."""
_COMPARE = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "=": np.isclose,
    "!=": lambda one, other: ~np.isclose(one, other) & ~np.isnan(one),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """The latents that are listed, in order, with their nodes.

    Attributes:
        runs: `[listed]` number of each listed latent among all candidate latents.
        starts, stops: `[listed]` its nodes are `nodes[start:stop]`.
        nodes: `[node]` all listed nodes, ascending.
    """

    runs: Ints
    starts: Ints
    stops: Ints
    nodes: Ints

    def nodes_of(self, index: int) -> tuple[int, ...]:
        """The listed nodes of listed latent number `index`."""
        return tuple(self.nodes[self.starts[index] : self.stops[index]].tolist())


class NodeList:
    """The candidates of a table with all that they are filtered and sorted by.

    A *run* is a candidate latent: consecutive nodes of the same site and latent.

    Attributes:
        run_site, run_latent: `[run]`.
        run_of: `[node]` the run of each node.
        label: the label of each run that lists show.
        promotes, suppresses: of each run, the tokens as far as known.
    """

    def __init__(self, table: NodeTable) -> None:
        self.table = table
        site, latent = np.array(table.site, dtype=np.int64), np.array(table.latent, dtype=np.int64)
        self._site, self._position = site, np.array(table.position, dtype=np.int64)
        new = np.ones(len(table), dtype=bool)
        new[1:] = (site[1:] != site[:-1]) | (latent[1:] != latent[:-1])
        first = np.flatnonzero(new)
        self.run_of: Ints = np.cumsum(new) - 1
        self.run_site, self.run_latent = site[first], latent[first]
        self.run_first = first
        self._run_number = {
            key: run for run, key in enumerate(zip(self.run_site.tolist(), self.run_latent.tolist(), strict=True))
        }
        self._columns: dict[str, Floats] = {
            "latent": latent.astype(np.float64),
            "clean": np.array(table.mean_clean, dtype=np.float64),
            "corrupt": np.array(table.mean_corrupt, dtype=np.float64),
            "diff": np.array(table.difference, dtype=np.float64),
            "max": np.array(table.max, dtype=np.float64),
            "freq": np.array(table.frequency, dtype=np.float64),
        }
        for name in ("effect", "push", "share"):
            self._columns[name] = np.full(len(table), np.nan)
        self.kept: Bools = np.zeros(len(table), dtype=bool)
        self._words = UserWords()
        self._own_label = [table.label[node] for node in first.tolist()]
        self.label = list(self._own_label)
        self.promotes: list[tuple[str, ...]] = [()] * len(first)
        self.suppresses: list[tuple[str, ...]] = [()] * len(first)
        self._chunks = 0
        self._text = [self._run_text(run) for run in range(len(first))]
        self._site_text = [site.short.lower() for site in table.sites]
        self._position_text = [name.lower() for name in table.positions]
        self._ranks: dict[str, Ints] = {}

    def column(self, name: str) -> Floats:
        """The numbers of a column, `[node]`, NaN where not known."""
        return self._columns[name]

    def set_circuit(self, kept: bytes, effect: Sequence[float | None]) -> None:
        """Takes the current circuit, a byte for each node, and the effects known of its nodes."""
        self.kept = np.frombuffer(kept, dtype=np.uint8) != 0
        column = np.full(len(self.kept), np.nan)
        for node in np.flatnonzero(self.kept).tolist():
            value = effect[node]
            if value is not None:
                column[node] = value
        self._columns["effect"] = column

    def set_shares(self, shares: Mapping[int, float]) -> None:
        """Takes the share of an audit's searches that chose each node; all are unknown if it is empty."""
        column = np.full(len(self.kept), np.nan) if not shares else np.zeros(len(self.kept))
        for node, share in shares.items():
            column[node] = share
        self._columns["share"] = column

    def add_columns(self, columns: LatentColumns) -> None:
        """Takes the push, and the tokens that have been computed since the last call."""
        if columns.push is not None:
            self._columns["push"] = np.array(columns.push, dtype=np.float64)
        for chunk in columns.tokens[self._chunks :]:
            for row in chunk:
                run = self._run_number[row.site, row.latent]
                self.promotes[run], self.suppresses[run] = row.promotes, row.suppresses
                self._text[run] = self._run_text(run)
        self._ranks.pop("promotes", None)
        self._ranks.pop("suppresses", None)
        self._chunks = len(columns.tokens)

    def set_words(self, words: UserWords) -> None:
        """Takes the user's labels, marks and groups."""
        changed = set(self._words.labels.items()) ^ set(words.labels.items())
        self._words = words
        for key, _ in changed:
            run = self._run_number.get(key)
            if run is not None:
                self.label[run] = words.labels.get(key) or self._own_label[run]
                self._text[run] = self._run_text(run)
        self._ranks.pop("label", None)

    def matching(self, terms: Sequence[Term]) -> Bools:
        """Returns which nodes meet all of `terms`, `[node]`."""
        mask = np.ones(len(self.kept), dtype=bool)
        for term in terms:
            mask &= self._meets(term)
        return mask

    def listing(self, mask: Bools, sort: str = "latent", *, reverse: bool = False, by_site: bool = True) -> Listing:
        """Returns the latents with nodes in `mask` `[node]`, sorted by a column; within each site if `by_site`.

        Numbers come with the largest first; words, positions and latents ascend. `reverse` turns that round.
        """
        nodes = np.flatnonzero(mask)
        runs = self.run_of[nodes]
        new = np.ones(len(runs), dtype=bool)
        new[1:] = runs[1:] != runs[:-1]
        starts = np.flatnonzero(new)
        runs = runs[starts]
        key = self._sort_key(sort, nodes, starts, runs)
        if (sort in self._columns and sort != "latent") != reverse:
            key = -key
        keys: list[Any] = [np.arange(len(runs)), key]
        if by_site:
            keys.append(self.run_site[runs])
        order = np.lexsort(keys)  # NaN is the last, whatever its sign
        stops = np.append(starts[1:], len(nodes)) if len(starts) else starts
        return Listing(runs[order], starts[order], stops[order], nodes)

    def row_codes(
        self, listing: Listing, folded: Collection[int], expanded: Collection[tuple[int, int]], *, flat: bool
    ) -> Ints:
        """Returns the rows of a list as numbers, from the first row to the last.

        A listed latent is its index in `listing`, a node of an expanded latent is `len(listing.runs)` plus its number,
        the heading of site s is -1 - s. The latents of a `folded` site are left out; `flat` lists have no headings.
        """
        count = len(listing.runs)
        codes = np.arange(count)
        if not flat:
            sites = self.run_site[listing.runs]
            starts = np.searchsorted(sites, np.arange(len(self.table.sites) + 1))
            parts = list[Ints]()
            for site, (start, stop) in enumerate(itertools.pairwise(starts.tolist())):
                parts += [np.array([-1 - site]), codes[start : start if site in folded else stop]]
            codes = np.concatenate(parts)
        opened = [at for at in (self.listed_at(listing, *key) for key in expanded) if at is not None]
        for index in opened:
            nodes = listing.nodes_of(index)
            place = np.flatnonzero(codes == index)
            if len(nodes) > 1 and len(place):
                codes = np.insert(codes, place[0] + 1, count + np.array(nodes))
        return codes

    def listed_at(self, listing: Listing, site: int, latent: int) -> int | None:
        """The index of a latent in `listing`; None if it is not listed."""
        run = self.run(site, latent)
        if run is None:
            return None
        found = np.flatnonzero(listing.runs == run)
        return int(found[0]) if len(found) else None

    def count_by_site(self, listing: Listing) -> list[int]:
        """How many nodes of each site are listed."""
        counts: list[int] = np.bincount(self._site[listing.nodes], minlength=len(self.table.sites)).tolist()
        return counts

    def value(self, name: str, nodes: Sequence[int]) -> float | None:
        """A latent's value of a column of numbers for its `nodes`; None if it is not known."""
        values = self._columns[name][list(nodes)]
        values = values[~np.isnan(values)]
        if not len(values):
            return None
        return float(values[np.abs(values).argmax()] if name in SIGNED else values.max())

    @property
    def largest_effect(self) -> float:
        """The largest |effect| that is known; 0 if none is."""
        effect = self._columns["effect"]
        known = np.abs(effect[~np.isnan(effect)])
        return float(known.max()) if len(known) else 0.0

    def run(self, site: int, latent: int) -> int | None:
        """The number of a candidate latent; None if it is no candidate."""
        return self._run_number.get((site, latent))

    def _sort_key(self, sort: str, nodes: Ints, starts: Ints, runs: Ints) -> Floats:
        if sort in self._columns:
            if sort == "latent":
                return self.run_latent[runs].astype(np.float64)
            values = self._columns[sort][nodes]
            if not len(starts):
                return values
            largest: Floats = np.fmax.reduceat(values, starts)
            if sort not in SIGNED:
                return largest
            smallest: Floats = np.fmin.reduceat(values, starts)
            return np.where(-smallest > largest, smallest, largest)
        if sort == "pos":
            return self._position[nodes[starts]].astype(np.float64)
        rank = self._rank(sort)[runs].astype(np.float64)
        rank[rank < 0] = np.nan
        return rank

    def _rank(self, sort: str) -> Ints:
        """The place of each run among all, by its words in a column; -1 where it has none."""
        if sort not in self._ranks:
            columns: dict[str, Sequence[str] | Sequence[tuple[str, ...]]] = {
                "label": self.label, "promotes": self.promotes, "suppresses": self.suppresses,
            }  # fmt: skip
            texts = [(word if isinstance(word, str) else " ".join(word)).strip().lower() for word in columns[sort]]
            place = {text: number for number, text in enumerate(sorted(set(texts) - {""}))}
            self._ranks[sort] = np.array([place.get(text, -1) for text in texts], dtype=np.int64)
        return self._ranks[sort]

    def _run_text(self, run: int) -> str:
        words = [str(self.run_latent[run]), self.label[run], *self.promotes[run]]
        return " ".join(words).lower()

    def _meets(self, term: Term) -> Bools:
        match term:
            case StateTerm("on"):
                return self.kept
            case StateTerm("off"):
                return ~self.kept
            case StateTerm():
                return self._nodes_in(self._words.marked)
            case NumberTerm(column, operator, value):
                with np.errstate(invalid="ignore"):
                    found: Bools = _COMPARE[operator](self._columns[column], value)  # type: ignore[operator]
                return found
            case WordTerm(column, value, equal):
                has = self._has_word(column, value)
                return has if equal else ~has
            case TextTerm(text):
                runs = np.array([text in own for own in self._text], dtype=bool)
                sites = np.array([text in own for own in self._site_text], dtype=bool)
                positions = np.array([text in own for own in self._position_text], dtype=bool)
                any_of: Bools = runs[self.run_of] | sites[self._site] | positions[self._position]
                return any_of

    def _has_word(self, column: str, value: str) -> Bools:
        match column:
            case "site":
                hooks = [site.hook.lower() for site in self.table.sites]
                pairs = zip(self._site_text, hooks, strict=True)
                return np.array([value in pair for pair in pairs], dtype=bool)[self._site]
            case "pos":
                return np.array([value == own for own in self._position_text], dtype=bool)[self._position]
            case "group":
                return self._nodes_in(
                    node for node, names in self._words.groups.items() if value in map(str.lower, names)
                )
            case "label":
                own = [value == label.lower() or value in label.lower().split() for label in self.label]
            case _:
                tokens = self.promotes if column == "promotes" else self.suppresses
                own = [any(value == token.strip().lower() for token in of_run) for of_run in tokens]
        return np.array(own, dtype=bool)[self.run_of]

    def _nodes_in(self, nodes: Any) -> Bools:
        found = np.zeros(len(self.kept), dtype=bool)
        found[list(nodes)] = True
        return found
