"""The rule for files that are written: tried before the work, nothing of the user's is lost, one writer at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from circuit_tui.core.atomic_file import check_target
from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.file_kind import file_kind
from circuit_tui.core.runtime.file_lock import FileLock

FOREIGN: Final = "file that circuit-tui did not write"
"""The kind of a file that is replaced only with `force`."""


class ForeignFileError(UserError):
    """There is a file that this program did not write; it is replaced only if the user says so."""


def check_output(path: Path, *, force: bool = False) -> str | None:
    """Returns the kind of the file that writing `path` would replace; None where there is no file, or an empty one.

    The kind is one of `file_kind`, or `FOREIGN` with `force`.

    Raises:
        ForeignFileError: the file there is not one of this program's, and `force` is not given.
        UserError: it cannot be written (`check_target`).
    """
    check_target(path)
    target = path.expanduser()
    try:
        if target.stat().st_size == 0:
            return None
    except FileNotFoundError:
        return None
    kind = file_kind(target)
    if kind is None and not force:
        raise ForeignFileError(f"{path}: there is a file that circuit-tui did not write; --force replaces it")
    return kind or FOREIGN


def claim_output(path: Path) -> FileLock:
    """Returns the lock of an output file, held: ``.NAME.circuit-tui.lock`` beside it, which goes when it is released.

    Raises:
        UserError: another process writes the file.
        OSError: the lock cannot be made.
    """
    target = path.expanduser().resolve()
    lock = FileLock(target.with_name(f".{target.name}.circuit-tui.lock"), delete=True)
    if not lock.claim():
        holder = "another process" if lock.pid is None else f"another process ({lock.pid})"
        raise UserError(f"{path}: {holder} is writing to it; wait for it, or name another file")
    return lock


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Holds the lock of an output file for as long as the block runs; where no lock can be made, it runs without one.

    Raises:
        UserError: another process writes the file.
    """
    lock = None
    with contextlib.suppress(OSError):
        lock = claim_output(path)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
