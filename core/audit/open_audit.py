"""From a session to an audit of its current circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core import demo
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.splice_cost import read_text
from circuit_tui.core.audit.subject import AuditSettings, SearchUsed, Subject
from circuit_tui.core.circuit_schema import BUNDLED
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluate import Evaluator
from circuit_tui.core.search.registry import METHODS

if TYPE_CHECKING:
    from circuit_tui.core.session import Session


def open_audit(session: Session, settings: AuditSettings) -> Audit:
    """An audit of the session's current circuit, not yet begun.

    Raises:
        UserError: the circuit is empty, the text cannot be read, or the method that found the circuit is unknown here.
    """
    return Audit(subject_of(session, settings))


def subject_of(session: Session, settings: AuditSettings) -> Subject:
    """The session's current circuit as an audit sees it.

    Raises:
        UserError: see `open_audit`.
    """
    problem, found = session.problem, session.found
    if not session.kept.any():
        raise UserError("audit: the circuit is empty; find one first")
    if settings.text is not None:
        read_text(settings.text)
    used = SearchUsed()
    if found.target is not None:
        if found.method not in METHODS:
            raise UserError(f"audit: the circuit was found by the method {found.method!r}, which is not known here")
        used = SearchUsed(found.method, found.target, METHODS[found.method].resolve(found.settings))
    unseen = Evaluator(problem, "unseen") if "unseen" in problem.splits else None
    kept = session.kept.clone()
    return Subject(problem, kept, session.train, session.test, unseen, used, found.target, settings)


def text_of(session: Session, given: Path | None) -> Path | None:
    """The text to price the splice on: the one that was given, the demo's own for the demo's model, or none."""
    return demo.text_path() if given is None and session.opened.model_name == BUNDLED else given
