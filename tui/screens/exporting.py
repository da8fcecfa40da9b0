"""What the explorer writes into files, and the row that it copies."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from circuit_tui.core.atomic_file import write_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.table import Table
from circuit_tui.core.session.table_request import FrontierTable, LatentsTable, LatentTable, TableRequest
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.screens.export_to import ExportOffer
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.panes import Panes

FORMS = ((".csv", "CSV"), (".md", "Markdown"), (".svg", "SVG"))
COPIED_WIDTH = 240  # cells of a copied row: nothing in it is cut
COPIED_FILE = "copied.txt"


def export_offers(panes: Panes, state: EngineState, out: Path | None, *, force: bool) -> tuple[ExportOffer, ...]:
    """What can be written now, the circuit first: its file, its nodes alone, what the current pane shows as a table.

    `out` is the path that is proposed for the circuit; `force` lets an export replace any file at that path.
    """
    assert state.info is not None
    stem = file_name(state.info.task)
    first = str(out or f"{stem}.circuit.json")

    def circuit(path: Path) -> commands.ExportCommand:
        return commands.Export(path, force=force and str(path) == str(Path(first).expanduser()))

    wanted, name, what = shown_table(panes, state)
    return (
        ExportOffer(first, ".json", "the circuit, with all that is known of it", circuit),
        ExportOffer(f"{stem}.masks.json", ".masks.json", "the nodes alone, as published masks", circuit),
        *(
            ExportOffer(
                f"{stem}.{name}{ending}", ending, f"{what}, as {form}", partial(commands.ExportTable, wanted)
            )
            for ending, form in FORMS
        ),
    )  # fmt: skip


def shown_table(panes: Panes, state: EngineState) -> tuple[TableRequest | Table, str, str]:
    """The table that the current pane shows, with a word for a file's name, and what it is."""
    row, model = panes.circuit.table.current, panes.circuit.table.model
    if panes.current == "circuits":
        return panes.circuits.as_table(), "circuits", "the list of circuits"
    if panes.current == "frontier":
        return FrontierTable(), "frontier", "the frontier"
    if panes.current == "latent" and isinstance(row, LatentRow | NodeRow) and state.table is not None:
        short = state.table.sites[row.site].short
        return LatentTable(row.site, row.latent), f"{file_name(short)}-{row.latent}", f"latent {short}/{row.latent}"
    if model is None:
        return LatentsTable(), "latents", "the list of latents"
    listed = LatentsTable(model.filter, model.sort, model.reverse, model.show_all, by_site=not model.flat)
    found = f" that match “{model.filter}”" if model.filter else ""
    return listed, "latents", f"the {'' if model.show_all else 'kept '}latents{found}"


def row_text(panes: Panes, state: EngineState) -> str:
    """The row under the cursor as a line of text, its cells apart by tabs; empty where there is none."""
    home = panes.home(panes.current)
    if isinstance(home, FrontierPane):
        point = home.point
        return "" if point is None else f"{point.size}\t{point.train}\t{'' if point.test is None else point.test}"
    if panes.current == "latent":
        home = panes.circuit.table
    if not isinstance(home, LineList) or not home.has_lines:
        return ""
    text = re.sub(r"\s{2,}", "\t", home.line(home.cursor, COPIED_WIDTH).text.strip())
    row = panes.circuit.table.current
    if home is panes.circuit.table and isinstance(row, LatentRow | NodeRow) and state.table is not None:
        text = f"{state.table.sites[row.site].short}/{row.latent}\t{text}"
    return text


def keep_copied(text: str, folder: Path) -> str:
    """Write a copied row into a file too, for terminals that do not take it; returns what to say of it."""
    try:
        return f"Copied; it is in {write_text(text + chr(10), folder / COPIED_FILE)} too."
    except UserError as error:
        return f"Copied, but kept in no file: {error}"


def file_name(text: str) -> str:
    """`text` as a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(text).stem) or "circuit"
