"""The tables of a session that can be taken out as files: the list of latents, one latent closely, the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Protocol

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.address import Address
from circuit_tui.core.outputs.output_file import check_output
from circuit_tui.core.outputs.table import Cell, Table
from circuit_tui.core.outputs.table_file import check_table_name, write_table
from circuit_tui.core.session.listed_latents import Listable, ListedLatent, listed_latents
from circuit_tui.core.session.table_request import FrontierTable, LatentsTable, LatentTable, TableRequest
from circuit_tui.core.views import FrontierPoint, LatentView, NodeTable

Interval = tuple[float, float]


class Frontiers(Protocol):
    """What tables need of a session's searches."""

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """Returns the frontier of the current or last search."""

    def intervals(self) -> Mapping[int, Interval | None]:
        """Returns the 95% intervals of the frontier's held-out faithfulness that are computed, by size."""


class Tabled(Listable, Protocol):
    """What tables need of a session."""

    def latent_view(self, site: int, latent: int) -> LatentView:
        """Returns a close view of one latent."""

    @property
    def searches(self) -> Frontiers:
        """The searches, the last of which has the frontier."""


def table_of(session: Tabled, wanted: TableRequest | Table) -> Table:
    """Returns the table `wanted` with all numbers that the session has computed; a table as it is.

    Raises:
        UserError: there is no such latent or column, no frontier yet, or the filter cannot be read.
    """
    match wanted:
        case LatentsTable(filter, sort, reverse, everything, by_site):
            order = {"reverse": reverse, "everything": everything, "by_site": by_site}
            return latents_table(listed_latents(session, filter, sort, **order), filter)
        case Table():
            return wanted
        case LatentTable(site, latent):
            return latent_table(session.latent_view(site, latent), session.table)
        case FrontierTable():
            return frontier_table(session.searches.frontier(), session.searches.intervals())


def export_table(session: Tabled, wanted: TableRequest | Table, path: Path, *, force: bool = False) -> Path:
    """Writes the table `wanted` in the form that the name of `path` asks for; returns the absolute path.

    Raises:
        ForeignFileError: there is a file that this program did not write, and `force` is not given.
        UserError: what `table_of` raises, or it cannot be written there.
    """
    check_table_name(path, "table")
    check_output(path, force=force)
    return write_table(table_of(session, wanted), path, force=force)


def latents_table(rows: Sequence[ListedLatent], filter: str = "") -> Table:
    """Returns a list of latents as a table; `filter` is what they match."""
    cells = (tuple(_joined(value) for value in astuple(row)) for row in rows)
    return Table("latents", f"{len(rows)} latents{f' matching {filter}' if filter else ''}", tuple(cells))


def frontier_table(points: tuple[FrontierPoint, ...], intervals: Mapping[int, Interval | None] | None = None) -> Table:
    """Returns a frontier as a table, with the 95% intervals of its held-out numbers where they are known.

    Raises:
        UserError: it has no points.
    """
    if not points:
        raise UserError("frontier: there is none before a search")
    known = intervals or {}
    rows = [(point.size, point.train, point.test, *(known.get(point.size) or (None, None))) for point in points]
    return Table("frontier", "frontier", tuple(rows))


def latent_table(view: LatentView, table: NodeTable) -> Table:
    """Returns one latent as a table. Each row has the part of the view that it is of, a name, and its numbers."""
    rows: list[tuple[Cell, ...]] = [("position", name, clean, corrupt) for name, clean, corrupt in view.profile]
    for part, words in (("promotes", view.promotes), ("suppresses", view.suppresses), ("answer", view.answers)):
        rows += [(part, token, weight, None) for token, weight in words]
    rows += [("nearest", str(latent), cosine, None) for latent, cosine in view.neighbours]
    rows += [
        (f"{prompt.side} prompt", "".join(prompt.tokens).strip(), prompt.peak, None)
        for band in view.bands
        for prompt in band.examples
    ]
    name = Address(view.site, view.latent).text(table)
    return Table("latent", f"{name}  {view.label}".strip(), tuple(rows))


def _joined(value: object) -> Cell:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    assert value is None or isinstance(value, str | int | float)
    return value
