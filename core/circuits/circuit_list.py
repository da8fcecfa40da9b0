"""Lists circuits with their numbers: those in files, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.views import Metrics, SearchResult

_SCHEMA = b'"circuit-tui/circuit/'
_BEGINNING = 4096  # bytes of a file in which the name of its schema stands


@dataclass(frozen=True, slots=True)
class CircuitRow:
    """One circuit. Metrics are on the search prompts (`train`) and on the held-out ones.

    `path` is None for a circuit that is in no file. `target` is None if no search found it, `edited` says that it was
    changed since. `interval` is the 95% interval of the held-out faithfulness, None where it was not computed.
    """

    name: str
    path: Path | None
    method: str
    target: float | None
    seed: int
    size: int
    train: float
    test: float
    interval: tuple[float, float] | None
    kl: float
    accuracy: float
    model: str
    task: str
    created: str
    edited: bool = False

    @classmethod
    def of_file(cls, file: CircuitFile, path: Path) -> CircuitRow:
        """Returns the row of a circuit file."""
        test = file.metrics.test
        return cls(
            name=path.name,
            path=path,
            method=file.method.name,
            target=file.method.target,
            seed=file.seed,
            size=file.size,
            train=file.metrics.train.faithfulness,
            test=test.faithfulness,
            interval=test.faithfulness_interval,
            kl=test.kl,
            accuracy=test.accuracy,
            model=file.model.name,
            task=file.task.name,
            created=file.created,
            edited=file.method.edited,
        )

    @classmethod
    def of_search(cls, result: SearchResult, number: int, model: str, task: str) -> CircuitRow:
        """Returns the row of what search `number` of a session on `model` and `task` has found."""
        test: Metrics = result.test
        return cls(
            name=f"search {number}",
            path=None,
            method=result.method,
            target=result.target,
            seed=result.seed,
            size=len(result.nodes),
            train=result.train.faithfulness,
            test=test.faithfulness,
            interval=test.faithfulness_interval,
            kl=test.kl,
            accuracy=test.accuracy,
            model=model,
            task=task,
            created="",
        )


@dataclass(frozen=True, slots=True)
class CircuitList:
    """The circuits in some files and folders, the newest first. `damaged` has a line for each file that is none."""

    rows: tuple[CircuitRow, ...]
    damaged: tuple[str, ...]


def list_circuits(places: Sequence[Path]) -> CircuitList:
    """Returns the circuits in `places`: files, and folders with the circuit files that lie in them.

    Other files of a folder are left out; damaged circuit files in it are told.

    Raises:
        UserError: one of `places` is missing, or is a file that holds no circuit.
    """
    rows, damaged = list[CircuitRow](), list[str]()
    for path in dict.fromkeys(found for place in places for found in _files(place)):
        try:
            rows.append(CircuitRow.of_file(read_circuit(path), path))
        except UserError as error:
            if path in places:
                raise
            damaged.append(str(error))
    rows.sort(key=lambda row: row.created, reverse=True)
    return CircuitList(tuple(rows), tuple(damaged))


def _files(place: Path) -> Iterable[Path]:
    if not place.expanduser().is_dir():
        return [place]
    try:
        return sorted(path for path in place.expanduser().glob("*.json") if _is_circuit(path))
    except OSError as error:
        raise UserError(f"{place}: cannot read: {error.strerror or error}") from error


def _is_circuit(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _SCHEMA in stream.read(_BEGINNING)
    except OSError:
        return False
