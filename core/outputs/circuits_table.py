"""A list of circuits as a table."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tui.core.circuits.circuit_list import CircuitRow
from circuit_tui.core.outputs.table import Table


def circuits_table(rows: Sequence[CircuitRow]) -> Table:
    """Returns the table of `rows`; a circuit that is in no file has the name of its search."""
    cells = [
        (
            row.name if row.path is None else str(row.path), row.method, row.target, row.seed, row.size, row.train,
            row.test, *(row.interval or (None, None)), row.kl, row.accuracy, row.model, row.task, row.created,
        )
        for row in rows
    ]  # fmt: skip
    return Table("circuits", "circuits", tuple(cells))
