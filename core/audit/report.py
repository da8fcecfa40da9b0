"""From what an audit found to the part of a circuit file, and back to settings that repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from circuit_tui.core import demo
from circuit_tui.core.audit.finding import Finding, SearchRun
from circuit_tui.core.audit.measures.splice_cost import text_sha256
from circuit_tui.core.audit.measures.stability import jaccard, shares
from circuit_tui.core.audit.run import AuditResult
from circuit_tui.core.audit.subject import AuditSettings
from circuit_tui.core.circuits.audit_schema import (
    AuditPart,
    AuditRunPart,
    AuditSearchPart,
    AuditSettingsPart,
    AuditTextPart,
    FindingPart,
    NodeSharePart,
)
from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.circuits.schema import BUNDLED


def audit_part(result: AuditResult) -> AuditPart:
    """What goes into the circuit file of the audited circuit."""
    subject, settings = result.subject, asdict(result.subject.settings)
    settings.pop("text")
    space, names = subject.problem.space, subject.problem.alignment.names
    runs = stability_runs(result.findings)
    return AuditPart(
        created=now(),
        circuit_tui=version("circuit-tui"),
        finished=result.finished,
        outcome=result.outcome,
        seconds=result.seconds,
        settings=AuditSettingsPart(**settings),
        search=AuditSearchPart(
            method=subject.search.method, target=subject.search.target, settings=dict(subject.search.settings)
        ),
        text=_text(subject.settings.text),
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


def text_path(part: AuditPart, folder: Path) -> Path | None:
    """Where the text of an audit should be, None where it had none. A relative path may be relative to `folder`."""
    if part.text is None:
        return None
    if part.text.path == BUNDLED:
        return demo.text_path()
    path = Path(part.text.path).expanduser()
    beside = folder / path
    return beside if not path.exists() and beside.exists() else path


def stability_runs(findings: Sequence[Finding]) -> list[SearchRun]:
    """The searches that tell how often a node is chosen: all but those for nonsense."""
    return [run for finding in findings for run in finding.runs if run.kind != "shuffled"]


def _text(path: Path | None) -> AuditTextPart | None:
    if path is None:
        return None
    return AuditTextPart(path=BUNDLED if path == demo.text_path() else str(path), sha256=text_sha256(path))


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
