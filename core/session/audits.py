"""The audits of a session: one under way at a time, as background work, and the audit that was read with a file.

An audit is of one circuit. It is put away when the session's circuit is another.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.audit.finding import TITLES, AuditProgress, Finding
from circuit_tui.core.audit.measures.stability import shares
from circuit_tui.core.audit.open_audit import open_audit
from circuit_tui.core.audit.report import audit_part, stability_runs
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.audit.texts import splice_text
from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment


class Audits:
    """See the module. Circuits are `[node]` bool; `kept` is always the session's current circuit."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._audit: Audit | None = None
        self._progress: AuditProgress | None = None
        self._read: tuple[Tensor, AuditPart] | None = None

    def start(self, kept: Tensor, provenance: Provenance, text: Path | None = None, *, full: bool = False) -> None:
        """Begins an audit of `kept`, or takes one up that was cut off; `advance` goes on with it.

        The splice is priced on `text`, or else on the demo's own text where its model is open. The searches of a `full`
        audit are made as the one that found the circuit.

        Raises:
            UserError: the circuit is empty, the text cannot be read, or the method that found it is unknown here.
        """
        text = splice_text(self._experiment.opened, text)
        settings = AuditSettings(seed=provenance.seed, quick=not full, text=text)
        self._leave()
        self._audit = open_audit(self._experiment, kept, provenance, settings)
        self._progress = next(self._audit)

    def stop(self, kept: Tensor) -> None:
        """Ends the audit where it is; its measured lines stay. Raises UserError if none is under way."""
        if not self.under_way(kept):
            raise UserError("no audit is under way; A starts one")
        if self._audit is not None:
            self._audit.leave()
        self._progress = None

    def under_way(self, kept: Tensor) -> bool:
        """Returns whether an audit of `kept` is under way."""
        return self._current(kept) is not None and self._progress is not None

    def advance(self, kept: Tensor) -> bool:
        """Goes on a little with the audit of `kept` and returns whether there was one. Any error ends it."""
        audit = self._current(kept)
        if audit is None or self._progress is None:
            return False
        try:
            self._progress = next(audit, None)
        except BaseException:
            self._progress = None
            raise
        return True

    def view(self, kept: Tensor) -> AuditView | None:
        """Returns what is known of `kept`, None before an audit."""
        audit, known = self._current(kept), self._known(kept)
        if audit is not None:
            result = audit.result
            chosen, quick = shares(stability_runs(result.findings)), audit.audited.settings.quick
            return AuditView(result.findings, result.outcome, self._progress, chosen, quick)
        return None if known is None else self._view_of(known)

    def part(self, kept: Tensor) -> AuditPart | None:
        """Returns what the circuit file of `kept` says of its audit."""
        audit = self._current(kept)
        if audit is not None and audit.findings:
            return audit_part(audit.result)
        return self._known(kept)

    def remember(self, kept: Tensor, part: AuditPart | None) -> None:
        """Takes the audit that a file has of `kept`."""
        self._read = None if part is None else (kept.clone(), part)

    def _current(self, kept: Tensor) -> Audit | None:
        if self._audit is not None and not torch.equal(self._audit.audited.kept, kept):
            self._leave()
        return self._audit

    def _leave(self) -> None:
        if self._audit is not None:
            self._audit.leave()
        self._audit = self._progress = None

    def _known(self, kept: Tensor) -> AuditPart | None:
        return self._read[1] if self._read is not None and torch.equal(self._read[0], kept) else None

    def _view_of(self, part: AuditPart) -> AuditView:
        problem = self._experiment.problem
        space, sites, names = problem.space, [site.hook for site in problem.sites], problem.alignment.names
        known = {(node.hook, node.position, node.latent): node.share for node in part.shares}
        keys = zip(space.site.tolist(), space.position.tolist(), space.latent.tolist(), strict=True)
        found = {
            node: known[key]
            for node, (site, position, latent) in enumerate(keys)
            if (key := (sites[site], names[position], latent)) in known
        }
        findings = tuple(
            Finding(line.key, line.verdict, line.says, line.numbers) for line in part.findings if line.key in TITLES
        )
        return AuditView(findings, part.outcome, None, found, part.settings.quick)
