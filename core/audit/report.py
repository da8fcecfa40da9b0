"""The `audit` part of a circuit file, made of what an audit found; and the settings that repeat an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from circuit_tui.core.audit.finding import Finding, SearchRun
from circuit_tui.core.audit.measures.stability import shares
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
from circuit_tui.core.circuits.compare_circuits import jaccard
from circuit_tui.core.circuits.schema import Versions


def audit_part(result: AuditResult) -> AuditPart:
    """Returns the `audit` part for the file of the audited circuit."""
    audited, settings = result.audited, asdict(result.audited.settings)
    settings.pop("text")
    space, names = audited.problem.space, audited.problem.alignment.names
    runs = stability_runs(result.findings)
    return AuditPart(
        created=now(),
        circuit_tui=Versions.installed().circuit_tui,
        finished=result.finished,
        outcome=result.outcome,
        seconds=result.seconds,
        settings=AuditSettingsPart(**settings),
        search=AuditSearchPart(
            method=audited.search.method, target=audited.search.target, settings=dict(audited.search.settings)
        ),
        text=text_part(audited.settings.text),
        findings=tuple(map(_finding_part, result.findings)),
        runs=tuple(_run_part(run) for finding in result.findings for run in finding.runs),
        jaccard=tuple(tuple(jaccard(one.nodes, other.nodes) for other in runs) for one in runs),
        shares=tuple(
            NodeSharePart(
                hook=audited.problem.sites[int(space.site[node])].hook,
                position=names[int(space.position[node])],
                latent=int(space.latent[node]),
                share=share,
            )
            for node, share in shares(runs).items()
        ),
    )


def settings_of(part: AuditPart, text: Path | None) -> AuditSettings:
    """Returns the settings that repeat an audit; `text` is where its text is now."""
    return AuditSettings(**part.settings.model_dump(exclude_none=True), text=text)


def stability_runs(findings: Sequence[Finding]) -> list[SearchRun]:
    """Returns the searches that count for how often a node is chosen: with other seeds, and on resampled prompts."""
    return [run for finding in findings for run in finding.runs if run.kind in ("seeds", "resamplings")]


def _finding_part(finding: Finding) -> FindingPart:
    return FindingPart(
        key=finding.key,
        title=finding.title,
        verdict=finding.verdict,
        says=finding.says,
        decides=finding.decides,
        numbers=dict(finding.numbers),
    )


def _run_part(run: SearchRun) -> AuditRunPart:
    values = asdict(run)
    values.pop("nodes")
    return AuditRunPart(**values)
