"""Reads and writes text files, whole or not at all, with one clear line when something is wrong."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from circuit_tui.core.errors import UserError


def read_text(path: Path, what: str) -> str:
    """Returns the text of a file that should hold a `what`.

    Raises:
        UserError: missing, a folder, unreadable, not UTF-8, or empty.
    """
    try:
        raw = path.expanduser().read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a {what}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8 text, and so not a {what}") from error
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    return text


def write_text(text: str, path: Path) -> Path:
    """Writes a text as UTF-8: see `write_bytes`."""
    return write_bytes(text.encode(), path)


def write_bytes(content: bytes, path: Path) -> Path:
    """Writes a file whole or not at all; returns its absolute path.

    The old file stays as it is until the new one is complete on the disk. A failure leaves nothing else behind.

    Raises:
        UserError: the folder is missing or read-only, the disk is full, `path` is a folder or no ordinary file.
    """
    target = _checked(path)
    part = part_of(target)
    try:
        with os.fdopen(_create(part), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def check_target(path: Path) -> None:
    """Refuses a path that `write_bytes` could not write to, before a long search rather than after it.

    It creates a file in the folder and removes it again: not every folder whose mode allows it takes files.

    Raises:
        UserError: the folder is missing, read-only or takes no files, or `path` is a folder or no ordinary file, or its
            name is too long.
    """
    part = part_of(_checked(path))
    try:
        os.close(_create(part))
        part.unlink()
    except FileNotFoundError:
        raise UserError(f"{path}: cannot write: the folder {path.parent} takes no files") from None
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from error


def part_of(target: Path) -> Path:
    """Returns a new name beside `target`, under which it is written before it takes its place."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")


def _create(path: Path) -> int:
    """Makes a file and opens it for writing.

    Its mode is 0666 less the umask, as any program would create it; a private temporary file would leave 0600 behind.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _checked(path: Path) -> Path:
    """Returns the absolute path of the file to write. A link keeps pointing where it did: its target is replaced.

    Raises:
        UserError: what can be seen without writing anything is wrong with `path`.
    """
    try:
        target = path.expanduser().resolve()
        if target.is_dir():
            raise UserError(f"{path}: is a folder; name a file in it")
        if not target.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}; make it first")
        if target.exists() and not target.is_file():
            raise UserError(f"{path}: not an ordinary file; name another")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise UserError(f"{path}: cannot write: the folder {path.parent} is read-only")
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # refuses a name that is too long
        return target
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a loop of links, a NUL in the name
        raise UserError(f"{path}: cannot write: {getattr(error, 'strerror', None) or error}") from error
