"""From what an audit found to the part of a circuit file, and back to settings that repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from circuit_tui.core.audit.finding import Finding, SearchRun
from circuit_tui.core.audit.measures.stability import jaccard, shares
from circuit_tui.core.audit.run import AuditResult
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.audit.texts import text_part
from circuit_tui.core.circuits.audit_schema import (
    AuditPart,
    AuditRunPart,
    AuditSearchPart,
    AuditSettingsPart,
    FindingPart,
    NodeSharePart,
)
from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.circuits.schema import Versions


def audit_part(result: AuditResult) -> AuditPart:
    """What goes into the circuit file of the audited circuit."""
    subject, settings = result.subject, asdict(result.subject.settings)
    settings.pop("text")
    space, names = subject.problem.space, subject.problem.alignment.names
    runs = stability_runs(result.findings)
    return AuditPart(
        created=now(),
        circuit_tui=Versions.installed().circuit_tui,
        finished=result.finished,
        outcome=result.outcome,
        seconds=result.seconds,
        settings=AuditSettingsPart(**settings),
        search=AuditSearchPart(
            method=subject.search.method, target=subject.search.target, settings=dict(subject.search.settings)
        ),
        text=text_part(subject.settings.text),
        findings=tuple(map(_finding, result.findings)),
        runs=tuple(_run(run) for finding in result.findings for run in finding.runs),
        jaccard=tuple(tuple(jaccard(one.nodes, other.nodes) for other in runs) for one in runs),
        shares=tuple(
            NodeSharePart(
                hook=subject.problem.sites[int(space.site[node])].hook,
                position=names[int(space.position[node])],
                latent=int(space.latent[node]),
                share=share,
            )
            for node, share in shares(runs).items()
        ),
    )


def settings_of(part: AuditPart, text: Path | None) -> AuditSettings:
    """The settings that repeat an audit; `text` is where its text is now."""
    return AuditSettings(**part.settings.model_dump(), text=text)


def stability_runs(findings: Sequence[Finding]) -> list[SearchRun]:
    """The searches that tell how often a node is chosen: all but those for nonsense."""
    return [run for finding in findings for run in finding.runs if run.kind != "shuffled"]


def _finding(finding: Finding) -> FindingPart:
    return FindingPart(
        key=finding.key,
        title=finding.title,
        verdict=finding.verdict,
        says=finding.says,
        decides=finding.decides,
        numbers=dict(finding.numbers),
    )


def _run(run: SearchRun) -> AuditRunPart:
    values = asdict(run)
    values.pop("nodes")
    return AuditRunPart(**values)
