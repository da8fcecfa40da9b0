"""What a session leaves behind when the memory of its device is needed, and takes back when it is opened again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from circuit_tui.core.circuits.circuit_file import write_export
from circuit_tui.core.circuits.schema import CircuitFile


class PutAside(Protocol):
    """What is needed of a session."""

    def state(self) -> dict[str, Any]:
        """Returns everything that the user has done."""

    def restore(self, state: dict[str, Any]) -> None:
        """Restores a stored state."""

    def circuit_file(self) -> CircuitFile:
        """Returns the file of the current circuit."""

    def open_circuit(self, path: Path) -> None:
        """Makes the circuit of a file the current one."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A session's state, with undo and redo, and its circuit's file, which has audit and edges. It holds no tensor."""

    state: dict[str, Any]
    file: CircuitFile


def put_aside(session: PutAside) -> Aside:
    """Returns what `take_back` needs to make a session that is opened anew as this one is, but for its searches."""
    return Aside(session.state(), session.circuit_file())


def take_back(session: PutAside, aside: Aside) -> None:
    """Makes a session as the one was that was put aside. Raises UserError if it is of another problem."""
    with tempfile.TemporaryDirectory() as folder:
        session.open_circuit(write_export(aside.file, Path(folder) / "aside.json"))
    session.restore(aside.state)
