"""The results of many runs in one SQLite file: one transaction for each run, one writing process at a time.

A process that writes holds the file's lock (`claim_output`); readers need none. `results_schema.py` has the tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from circuit_tui.core.atomic_file import part_of
from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.identity import Identity
from circuit_tui.core.outputs.file_kind import APPLICATION
from circuit_tui.core.outputs.output_file import claim_output
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.results_schema import TABLES, VERSION, order_columns, record_columns
from circuit_tui.core.search.spec import SearchSpec

BUSY_SECONDS = 30.0
_MAGIC = b"SQLite format 3\0"


class IdentityError(UserError):
    """Runs of the same names in the file were made with other weights, SAEs or token ids."""


class ResultsFile:
    """A results file open for writing; a context manager. With `replace`, a new one takes the place of the file.

    Raises:
        UserError: the file cannot be written, is no results file, or another process writes to it.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self.path = path
        try:
            self._lock = claim_output(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written there: {error.strerror or error}") from error
        try:
            if replace:
                _replace(path)
            self._connection = _connect(path, create=True)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and releases its lock."""
        self._connection.close()
        self._lock.release()

    def finished_ids(self) -> set[str]:
        """Returns the ids of all finished runs."""
        return {row["id"] for row in self._connection.execute("SELECT id FROM runs WHERE status = 'done'")}

    def save(self, order: RunOrder, record: RunRecord) -> None:
        """Writes a finished run, in place of an earlier failure of the same run.

        Raises:
            IdentityError: runs in the file were made with other weights, SAEs or token ids of the same name.
            UserError: the file can no longer be written.
            ValueError: the file has the run already.
        """
        self._check_identity(order, record.subject)
        subject = record.subject
        nodes = [
            (order.id, subject.sites[site].hook, subject.positions[position], latent)
            for site, position, latent in record.nodes
        ]
        points = [(order.id, point.size, point.train, point.test) for point in record.points]
        with self._transaction() as connection:
            _insert(connection, order_columns(order) | record_columns(record))
            connection.executemany("INSERT INTO frontier VALUES (?, ?, ?, ?)", points)
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?)", nodes)

    def save_failure(self, order: RunOrder, error: str, traceback: str = "") -> None:
        """Writes that a run failed, with its one-line `error`. Raises ValueError if the file has it as finished."""
        row = {"status": "failed", "created": now(), "error": error, "traceback": traceback or None}
        with self._transaction() as connection:
            _insert(connection, order_columns(order) | row)

    def _check_identity(self, order: RunOrder, identity: Identity) -> None:
        found = self._connection.execute(
            "SELECT record FROM runs WHERE opening = ? AND status = 'done' LIMIT 1", (order.opening_key,)
        ).fetchone()
        if found is None:
            return
        other = identity.difference(RunRecord.model_validate_json(found["record"]).subject)
        if other:
            raise IdentityError(
                f"{self.path}: its runs of {order.task} were made with other {other} of the same name; "
                "write to another --out"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._connection.execute("ROLLBACK")
            raise UserError(f"{self.path}: cannot be written: {error}") from error


def read_rows(path: Path, ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Returns the rows of `runs` without records and tracebacks, in the order of writing; only those of `ids` if given.

    Raises:
        UserError: there is no such file, or it is no results file.
    """
    with contextlib.closing(_connect(path, create=False)) as connection:
        rows = [dict(row) for row in connection.execute("SELECT * FROM runs ORDER BY rowid")]
    wanted = None if ids is None else set(ids)
    for row in rows:
        del row["record"], row["traceback"]
    return [row for row in rows if wanted is None or row["id"] in wanted]


def read_records(path: Path) -> list[RunRecord]:
    """Returns all finished runs, in the order in which they were written.

    Raises:
        UserError: there is no such file, it is no results file, or a record is damaged.
    """
    with contextlib.closing(_connect(path, create=False)) as connection:
        found = connection.execute("SELECT id, record FROM runs WHERE status = 'done' ORDER BY rowid").fetchall()
    records = []
    for row in found:
        try:
            records.append(RunRecord.model_validate_json(row["record"]))
        except ValidationError as error:
            raise UserError(f"{path}: the record of run {row['id'][:12]} is damaged") from error
    return records


def read_failures(path: Path) -> list[tuple[str, SearchSpec, str]]:
    """Returns (task, how it was searched, error) for every failed run.

    Raises:
        UserError: there is no such file, or it is no results file.
    """
    return [
        (
            row["task"],
            SearchSpec(row["method"], row["target"], row["seed"], json.loads(row["settings"])),
            row["error"],
        )
        for row in read_rows(path)
        if row["status"] == "failed"
    ]


def is_results_file(path: Path) -> bool:
    """Returns whether there is a file at `path` that begins as an SQLite file does."""
    try:
        with path.expanduser().open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _insert(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Inserts `row` into `runs`, in place of an earlier failure. Raises ValueError if the run is finished."""
    found = connection.execute("SELECT status FROM runs WHERE id = ?", (row["id"],)).fetchone()
    if found is not None and found["status"] == "done":
        raise ValueError(f"run {row['id']} is finished already")
    connection.execute("DELETE FROM runs WHERE id = ?", (row["id"],))
    names, places = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO runs ({names}) VALUES ({places})", tuple(row.values()))


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    if not create and not path.expanduser().is_file():
        raise UserError(f"{path}: no such file")
    try:
        connection = sqlite3.connect(path.expanduser(), timeout=BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and tables == 0 and create:
            pragmas = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
            connection.executescript(f"BEGIN; {TABLES} {pragmas} COMMIT;")
            application, version = APPLICATION, VERSION
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: not a results file that can be used: {error}") from error
    if (application, version) != (APPLICATION, VERSION):
        connection.close()
        raise UserError(f"{path}: not a results file of this version of circuit-tui; name another")
    return connection


def _replace(path: Path) -> None:
    """Puts an empty results file in the place of the file at `path`, in one go."""
    target = path.expanduser().resolve()
    part = part_of(target)
    try:
        _connect(part, create=True).close()
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
