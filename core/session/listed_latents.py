"""Lists a session's latents as rows of plain values: what the list on the screen shows, for a printer or a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.latents.node_filter import NUMBERS, SORT_COLUMNS, parse_filter
from circuit_tui.core.latents.node_list import NodeList
from circuit_tui.core.latents.views import LatentColumns
from circuit_tui.core.views import CircuitView, NodeTable


class Listable(Protocol):
    """What a list needs of a session."""

    @property
    def table(self) -> NodeTable:
        """The candidate nodes."""

    @property
    def annotations(self) -> Annotations:
        """What the user says of latents and nodes."""

    def view(self) -> CircuitView:
        """Returns the current circuit."""

    def latent_columns(self) -> LatentColumns:
        """Returns the columns that are computed after opening."""

    def audit_view(self) -> AuditView | None:
        """Returns what audits say of the current circuit."""


@dataclass(frozen=True, slots=True)
class ListedLatent:
    """One latent of a site with those of its nodes that are listed; numbers are its largest (`latents/node_list.py`).

    `positions` are those of its listed nodes, `kept` the ones that are in the circuit. None stands for what is not
    known: the effect of a latent that is off, the push of one that writes at no answer.
    """

    site: str
    hook: str
    latent: int
    positions: tuple[str, ...]
    kept: tuple[str, ...]
    label: str
    clean: float | None
    corrupt: float | None
    diff: float | None
    max: float | None
    freq: float | None
    effect: float | None
    push: float | None
    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]
    marked: bool
    note: str
    groups: tuple[str, ...]


def node_list(session: Listable) -> NodeList:
    """Returns the candidates of a session with all numbers that it has computed."""
    view, nodes = session.view(), NodeList(session.table)
    nodes.set_circuit(view.kept, view.effect)
    nodes.add_columns(session.latent_columns())
    nodes.set_words(session.annotations.words())
    audit = session.audit_view()
    nodes.set_shares(audit.shares if audit else {})
    return nodes


def listed_latents(
    session: Listable,
    filter_text: str = "",
    sort: str = "latent",
    *,
    reverse: bool = False,
    everything: bool = False,
    by_site: bool = False,
) -> tuple[ListedLatent, ...]:
    """Returns the latents that meet a filter (`latents/node_filter.py`), sorted by a column over all sites.

    Only kept nodes are listed, or with `everything` all candidates; `by_site` sorts within each site.

    Raises:
        UserError: the filter cannot be read, or there is no such column.
    """
    if sort not in SORT_COLUMNS:
        raise UserError(f"sort {sort}: no such column; there are {', '.join(SORT_COLUMNS)}")
    terms, nodes, table = parse_filter(filter_text), node_list(session), session.table
    mask = nodes.matching(terms)
    listing = nodes.listing(mask if everything else mask & nodes.kept, sort, reverse=reverse, by_site=by_site)
    rows = []
    for index, run in enumerate(listing.runs.tolist()):
        own = listing.nodes_of(index)
        site = table.sites[int(nodes.run_site[run])]
        names = [table.positions[table.position[node]] for node in own]
        numbers = {name: nodes.value(name, own) for name in NUMBERS if name not in ("latent", "share")}
        rows.append(
            ListedLatent(
                site=site.short,
                hook=site.hook,
                latent=int(nodes.run_latent[run]),
                positions=tuple(names),
                kept=tuple(name for node, name in zip(own, names, strict=True) if nodes.kept[node]),
                label=nodes.label[run],
                promotes=nodes.promotes[run],
                suppresses=nodes.suppresses[run],
                marked=bool(session.annotations.marks.intersection(own)),
                note=session.annotations.notes.get((int(nodes.run_site[run]), int(nodes.run_latent[run])), ""),
                groups=tuple(group.name for group in session.annotations.groups if set(own) & set(group.nodes)),
                **numbers,
            )
        )
    return tuple(rows)
