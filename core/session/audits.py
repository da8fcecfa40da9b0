"""The part of a session that audits its current circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from circuit_tui.core.audit.finding import TITLES, AuditProgress, Finding
from circuit_tui.core.audit.measures.stability import shares
from circuit_tui.core.audit.open_audit import open_audit, text_of
from circuit_tui.core.audit.report import audit_part, stability_runs
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.subject import AuditSettings
from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.provenance import Found
from circuit_tui.core.errors import UserError
from circuit_tui.core.splice.problem import Problem

if TYPE_CHECKING:
    from circuit_tui.core.session.session import Session


class Auditable:
    """Audits in slices, as background work; an audit is of one circuit, and is put away when that changes.

    An audit that was read with a file is remembered with its circuit.
    """

    problem: Problem
    _found: Found
    _dirty: bool
    _audit: Audit | None = None
    _progress: AuditProgress | None = None
    _read: tuple[Tensor, AuditPart] | None = None

    @property
    def kept(self) -> Tensor:
        """The current circuit, `[node]` bool."""
        raise NotImplementedError

    def start_audit(self, text: Path | None = None, *, full: bool = False) -> None:
        """Begins an audit of the current circuit, or takes one up that was cut off; `advance_audit` goes on with it.

        The splice is priced on `text`, without one on the demo's where its model is open. The searches of a `full` one
        are made as the one that found the circuit.

        Raises:
            UserError: the circuit is empty, the text cannot be read, or the method that found it is unknown here.
        """
        session = cast("Session", self)
        settings = AuditSettings(seed=self._found.seed, quick=not full, text=text_of(session, text))
        if self._audit is not None:
            self._audit.leave()
        self._progress = None
        self._audit = open_audit(session, settings)
        self._progress = next(self._audit)

    def stop_audit(self) -> None:
        """Leaves the audit where it is; what it has measured stays. Raises UserError if none is under way."""
        if not self.auditing:
            raise UserError("no audit is under way; A starts one")
        if self._audit is not None:
            self._audit.leave()
        self._progress = None

    @property
    def auditing(self) -> bool:
        """Whether an audit of the current circuit is under way."""
        return self._progress is not None and self._current() is not None

    def advance_audit(self) -> None:
        """Goes on with the audit a little; whatever goes wrong ends it."""
        if not self.auditing or self._audit is None:
            return
        try:
            self._progress = next(self._audit, None)
        except BaseException:
            self._progress = None
            raise
        self._dirty = True  # what took minutes is worth being asked about before it is lost

    def audit_view(self) -> AuditView | None:
        """What is known of the current circuit; None before an audit."""
        audit, known = self._current(), self._known()
        if audit is not None:
            result = audit.result
            chosen, quick = shares(stability_runs(result.findings)), audit.subject.settings.quick
            return AuditView(result.findings, result.outcome, self._progress, chosen, quick)
        return None if known is None else self._view_of(known)

    def audit_part(self) -> AuditPart | None:
        """What a circuit file says of the current circuit's audit."""
        audit = self._current()
        if audit is not None and audit.findings:
            return audit_part(audit.result)
        return self._known()

    def remember_audit(self, part: AuditPart | None) -> None:
        """Takes the audit that a file has of what is now the current circuit."""
        self._read = None if part is None else (self.kept.clone(), part)

    def _current(self) -> Audit | None:
        """The audit, if it is of the current circuit."""
        if self._audit is not None and not torch.equal(self._audit.subject.kept, self.kept):
            self._audit.leave()
            self._audit = self._progress = None
        return self._audit

    def _known(self) -> AuditPart | None:
        return self._read[1] if self._read is not None and torch.equal(self._read[0], self.kept) else None

    def _view_of(self, part: AuditPart) -> AuditView:
        space, sites = self.problem.space, [site.hook for site in self.problem.sites]
        names = self.problem.alignment.names
        known = {(node.hook, node.position, node.latent): node.share for node in part.shares}
        rows = zip(space.site.tolist(), space.position.tolist(), space.latent.tolist(), strict=True)
        found = {
            node: known[key]
            for node, (site, position, latent) in enumerate(rows)
            if (key := (sites[site], names[position], latent)) in known
        }
        findings = tuple(
            Finding(line.key, line.verdict, line.says, line.numbers) for line in part.findings if line.key in TITLES
        )
        return AuditView(findings, part.outcome, None, found, part.settings.quick)
