"""The audits of a session: one at a time runs as background work, and a file may bring a finished one.

An audit belongs to one circuit. It is put away when the session's circuit changes.
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
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment


class Audits:
    """The audits of a session's circuit, which every method takes as `kept`, `[node]` bool."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._audit: Audit | None = None
        self._progress: AuditProgress | None = None
        self._from_file: tuple[Tensor, AuditPart, AuditView] | None = None

    def start(
        self,
        kept: Tensor,
        provenance: Provenance,
        text: Path | None = None,
        *,
        full: bool = False,
        edges: EdgesPart | None = None,
    ) -> None:
        """Begins an audit of `kept`, or continues one that was cut off; `advance` runs it.

        The splice is priced on `text`, or else on the demo's text if the demo's model is open. A `full` audit searches
        as the circuit was found. With `edges`, those of the circuit's file, the lines on edges are measured too.

        Raises:
            UserError: the circuit is empty, the text cannot be read, or the method that found it is unknown here.
        """
        text = splice_text(self._experiment.opened, text)
        settings = AuditSettings(
            seed=provenance.seed, dictionaries=full, edges=edges is not None, quick=not full, text=text
        )
        self._leave()
        self._audit = open_audit(self._experiment, kept, provenance, settings, edges=edges)
        self._progress = next(self._audit)

    def stop(self, kept: Tensor) -> None:
        """Ends the audit here; its measured lines stay. Raises UserError if no audit is under way."""
        if not self.under_way(kept):
            raise UserError("no audit is under way; A starts one")
        if self._audit is not None:
            self._audit.leave()
        self._progress = None

    def under_way(self, kept: Tensor) -> bool:
        """Returns whether an audit of `kept` is under way."""
        return self._current(kept) is not None and self._progress is not None

    def advance(self, kept: Tensor) -> bool:
        """Runs a step of the audit of `kept`, if there is one; returns whether there was. Any error ends the audit."""
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
        """Returns what audits say of `kept`; None before an audit."""
        audit, held = self._current(kept), self._held_from_file(kept)
        if audit is not None:
            result = audit.result
            chosen, quick = shares(stability_runs(result.findings)), audit.audited.settings.quick
            return AuditView(result.findings, result.outcome, self._progress, chosen, quick)
        return None if held is None else held[1]

    def part(self, kept: Tensor) -> AuditPart | None:
        """Returns the `audit` part for the circuit file of `kept`; None before an audit."""
        audit = self._current(kept)
        if audit is not None and audit.findings:
            return audit_part(audit.result)
        held = self._held_from_file(kept)
        return None if held is None else held[0]

    def take_from_file(self, kept: Tensor, part: AuditPart | None) -> None:
        """Takes the audit of `kept` that its file has."""
        # The view is made once: it is asked for in each turn of background work, and looks through all candidates.
        self._from_file = None if part is None else (kept.clone(), part, self._view_of(part))

    def _current(self, kept: Tensor) -> Audit | None:
        if self._audit is not None and not torch.equal(self._audit.audited.kept, kept):
            self._leave()
        return self._audit

    def _leave(self) -> None:
        if self._audit is not None:
            self._audit.leave()
        self._audit = self._progress = None

    def _held_from_file(self, kept: Tensor) -> tuple[AuditPart, AuditView] | None:
        """Returns what the file of `kept` said of its audit, and the view of it."""
        if self._from_file is None or not torch.equal(self._from_file[0], kept):
            return None
        return self._from_file[1:]

    def _view_of(self, part: AuditPart) -> AuditView:
        problem = self._experiment.problem
        sites, names = [site.hook for site in problem.sites], problem.alignment.names
        share_of = {(node.hook, node.position, node.latent): node.share for node in part.shares}
        chosen = {
            node: share_of[key]
            for node, (site, position, latent) in enumerate(problem.space.coordinates())
            if (key := (sites[site], names[position], latent)) in share_of
        }
        findings = tuple(
            Finding(line.key, line.verdict, line.says, line.numbers) for line in part.findings if line.key in TITLES
        )
        return AuditView(findings, part.outcome, None, chosen, part.settings.quick)
