"""The text on which an audit prices the splice: the user's own, or the demo's if the demo's model is open."""

from __future__ import annotations

import hashlib
from pathlib import Path

from circuit_tui.core.circuits.audit_schema import AuditPart, AuditTextPart
from circuit_tui.core.circuits.schema import BUNDLED
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.bundled import bundled_text
from circuit_tui.core.opening.open_problem import OpenedProblem


def splice_text(opened: OpenedProblem, given: Path | None) -> Path | None:
    """Returns the given text, else the demo's text for the demo's model, else None."""
    return bundled_text() if given is None and opened.model_name == BUNDLED else given


def read_text(path: Path) -> str:
    """Returns a text file's content.

    Raises:
        UserError: the file is missing, not UTF-8 text, or empty.
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
        UserError: the file cannot be read (`read_text`).
    """
    return hashlib.sha256(read_text(path).encode()).hexdigest()


def text_part(path: Path | None) -> AuditTextPart | None:
    """Returns the path and hash of a text as a circuit file records them."""
    if path is None:
        return None
    return AuditTextPart(path=BUNDLED if path == bundled_text() else str(path), sha256=text_sha256(path))


def recorded_text(part: AuditPart, folder: Path) -> Path | None:
    """Returns the path of an audit's text, None if it had none; a relative path may start from `folder`."""
    if part.text is None:
        return None
    if part.text.path == BUNDLED:
        return bundled_text()
    path = Path(part.text.path).expanduser()
    in_folder = folder / path
    return in_folder if not path.exists() and in_folder.exists() else path
