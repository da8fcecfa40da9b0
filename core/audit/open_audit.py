"""From a session to an audit of its current circuit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core import demo
from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.beside import SearchEnvironment, fitting_jobs, parallel_searches
from circuit_tui.core.audit.lines import LINES, searches_left
from circuit_tui.core.audit.measures.splice_cost import read_text, text_sha256
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.subject import AuditSettings, Subject
from circuit_tui.core.circuits.schema import BUNDLED, CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.core.search.spec import SearchSpec

if TYPE_CHECKING:
    from circuit_tui.core.session.session import Session


@dataclass(frozen=True, slots=True)
class Others:
    """How other processes open what a session has open, and how many of them may make searches for its audit.

    Attributes:
        request: what to open.
        file: the circuit file that names it.
        jobs: at most so many at once; None for as many as the machine allows (`fitting_jobs`).
        log: takes what libraries print there.
    """

    request: OpenRequest
    file: CircuitFile
    jobs: int | None
    log: Path | None


def open_audit(session: Session, settings: AuditSettings, others: Others | None = None) -> Audit:
    """An audit of the session's current circuit, not yet begun.

    Searches are made as the one that found it, or in haste if the audit is quick.

    It keeps what it measures, and goes on with what was measured before the same audit was cut off. With `others`
    searches are made in processes of their own, if there are two at least and room for them.

    Raises:
        UserError: the circuit is empty, the text cannot be read, or the method that found the circuit is unknown here.
    """
    found = session.found
    used = SearchSpec(DEFAULT_METHOD, DEFAULT_TARGET, settings.seed)
    if found.target is not None:
        used = SearchSpec(found.method, found.target, settings.seed, found.settings)
    used = used.quick() if settings.quick else used.complete()
    subject = subject_of(session, used, found.target, settings)
    what = {
        "opened": session.subject(),
        "circuit": subject.kept.nonzero()[:, 0].tolist(),
        "search": {"method": used.method, "target": used.target, "settings": dict(used.settings)},
        "aimed": subject.target,
        "settings": asdict(settings) | {"text": None},
    }
    text = "" if settings.text is None else text_sha256(settings.text)
    subject = replace(subject, log=AuditLog(what, text))
    return Audit(
        subject if others is None else replace(subject, parallel_searches=_parallel_searches(session, subject, others))
    )


def _parallel_searches(session: Session, subject: Subject, others: Others) -> ParallelSearches | None:
    """Workers for the searches that are left, None if this process should make them."""
    jobs = min(others.jobs or fitting_jobs(session.problem), len(searches_left(LINES, subject)))
    if jobs < 2:
        return None
    # With as many prompts in a pass as here: sums of other batches may differ in their last digits.
    request = replace(others.request, batch=session.problem.batch_size)
    folder = None if subject.log is None else subject.log.folder
    place = SearchEnvironment(request, others.file, session.subject(), subject.search, subject.settings.quick, folder)
    return parallel_searches(place, jobs, others.log)


def subject_of(session: Session, used: SearchSpec, target: float | None, settings: AuditSettings) -> Subject:
    """The session's current circuit as an audit sees it.

    Raises:
        UserError: the circuit is empty, or the text cannot be read.
    """
    problem = session.problem
    if not session.kept.any():
        raise UserError("audit: the circuit is empty; find one first")
    if settings.text is not None:
        read_text(settings.text)
    unseen = Evaluator(problem, "unseen") if "unseen" in problem.splits else None
    return Subject(problem, session.kept.clone(), session.train, session.test, unseen, used, target, settings)


def text_of(session: Session, given: Path | None) -> Path | None:
    """The text to price the splice on: the one that was given, the demo's own for the demo's model, or none."""
    return demo.text_path() if given is None and session.opened.model_name == BUNDLED else given
