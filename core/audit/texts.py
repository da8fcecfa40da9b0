"""The text on which an audit prices the splice: the user's own, or the demo's where its model is open."""

from __future__ import annotations

import hashlib
from pathlib import Path

from circuit_tui.core.circuits.audit_schema import AuditPart, AuditTextPart
from circuit_tui.core.circuits.schema import BUNDLED
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.bundled import bundled_text
from circuit_tui.core.opening.open_problem import OpenedProblem


def text_to_price(opened: OpenedProblem, given: Path | None) -> Path | None:
    """Returns the text that was given, else the demo's own for the demo's model, else None."""
    return bundled_text() if given is None and opened.model_name == BUNDLED else given


def read_text(path: Path) -> str:
    """Returns a text file's content.

    Raises:
        UserError: it is missing, no UTF-8 text, or empty.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"--text {path}: not UTF-8 text: byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--text {path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    if not text.strip():
        raise UserError(f"--text {path}: the file is empty")
    return text


def text_sha256(path: Path) -> str:
    """Returns the SHA-256 of a text file's content.

    Raises:
        UserError: it cannot be read (`read_text`).
    """
    return hashlib.sha256(read_text(path).encode()).hexdigest()


def text_part(path: Path | None) -> AuditTextPart | None:
    """Returns what a circuit file says of a text: its place and its hash."""
    if path is None:
        return None
    return AuditTextPart(path=BUNDLED if path == bundled_text() else str(path), sha256=text_sha256(path))


def recorded_text(part: AuditPart, folder: Path) -> Path | None:
    """Returns where the text of an audit should be, None where it had none; a relative path may be below `folder`."""
    if part.text is None:
        return None
    if part.text.path == BUNDLED:
        return bundled_text()
    path = Path(part.text.path).expanduser()
    beside = folder / path
    return beside if not path.exists() and beside.exists() else path
