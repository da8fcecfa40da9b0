"""Measures the audit of a circuit file again, with its own settings and seeds, and compares the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from circuit_tui.core.audit.finding import AuditProgress, Finding, outcome
from circuit_tui.core.audit.lines import EDGE_LINES, LINES, lines_of
from circuit_tui.core.audit.open_audit import audited_circuit
from circuit_tui.core.audit.report import audit_part, settings_of
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.circuits.audit_schema import AuditPart, FindingPart
from circuit_tui.core.circuits.field_check import FieldCheck, check_close, check_equal
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.search.found_by import spec_of


def recheck_audit(
    experiment: Experiment,
    kept: Tensor,
    file: CircuitFile,
    text: Path | None,
    tolerance: float,
    *,
    searches: bool,
    progress: Callable[[AuditProgress], None] = lambda step: None,
) -> tuple[FieldCheck, ...]:
    """Returns a check of every field of the file's audit that was measured again.

    Args:
        experiment: the file's experiment, opened.
        kept: the file's circuit, `[node]` bool.
        file: the circuit file; without an audit there is nothing to check.
        text: where the audit's text is now.
        tolerance: how far a number may be off (`check_close`).
        searches: whether to measure the lines that rest on searches too.
        progress: hears of every step.

    Raises:
        UserError: the text cannot be read, or the method that searched is unknown here.
    """
    claimed = file.audit
    if claimed is None:
        return ()
    asked = replace(
        Provenance.of_file(file, kept),
        method=claimed.search.method, target=claimed.search.target, settings=claimed.search.settings,
    )  # fmt: skip
    spec = spec_of(asked, 0)
    assert spec is not None  # it has a target
    spec = spec.complete()
    audited = audited_circuit(experiment, kept, spec, file.method.target, settings_of(claimed, text), file.edges)
    keys = {finding.key for finding in claimed.findings}
    lines = tuple(
        line
        for line in lines_of(audited.settings)
        if line.key in keys and (searches or not line.is_long(audited.settings))
    )
    audit = Audit(audited, lines)
    for step in audit:
        progress(step)
    return tuple(_checks(claimed, audit_part(audit.result), tolerance, searches=searches))


def titles_left_out(claimed: AuditPart) -> tuple[str, ...]:
    """Returns the titles of the lines that rest on searches or on several eliminations."""
    settings = settings_of(claimed, None)
    left_out = {line.key for line in lines_of(settings) if line.is_long(settings)}
    return tuple(finding.title for finding in claimed.findings if finding.key in left_out)


def _checks(claimed: AuditPart, fresh: AuditPart, tolerance: float, *, searches: bool) -> Iterator[FieldCheck]:
    known = {line.key for line in LINES + EDGE_LINES}
    keys = [finding.key for finding in claimed.findings]
    findings = tuple(Finding(finding.key, finding.verdict, finding.says) for finding in claimed.findings)
    expected = {line.key for line in lines_of(settings_of(claimed, None))}
    if claimed.settings.dictionaries is None:
        expected -= {"dictionaries"}
    finished = set(keys) == expected and len(keys) == len(expected)
    yield check_equal("audit.finished", str(claimed.finished), str(finished))
    yield check_equal("audit.outcome", claimed.outcome, outcome(findings, finished=finished))
    if claimed.text is not None and fresh.text is not None:
        yield check_equal("audit.text.sha256", claimed.text.sha256, fresh.text.sha256)
    fresh_findings = {finding.key: finding for finding in fresh.findings}
    for finding in claimed.findings:
        if finding.key not in known:
            yield FieldCheck(f"audit.{finding.key}", finding.verdict, None, False)
        elif finding.key in fresh_findings:
            yield from _finding_checks(finding, fresh_findings[finding.key], tolerance)
    if searches:
        yield check_equal("audit.runs", len(claimed.runs), len(fresh.runs))
        for index, (run, now) in enumerate(zip(claimed.runs, fresh.runs, strict=False)):
            for name in ("kind", "seed", "draw", "size", "reached"):
                yield check_equal(f"audit.runs[{index}].{name}", getattr(run, name), getattr(now, name))
        yield from _share_checks(claimed, fresh, tolerance)


def _finding_checks(claimed: FindingPart, fresh: FindingPart, tolerance: float) -> Iterator[FieldCheck]:
    path = f"audit.{claimed.key}"
    yield check_equal(f"{path}.verdict", claimed.verdict, fresh.verdict)
    for name in {**fresh.numbers, **claimed.numbers}:
        now, file = fresh.numbers.get(name), claimed.numbers.get(name)
        if now is None or file is None:
            yield check_equal(f"{path}.{name}", file, now)
        else:
            yield from check_close(f"{path}.{name}", float(file), float(now), tolerance)


def _share_checks(claimed: AuditPart, fresh: AuditPart, tolerance: float) -> Iterator[FieldCheck]:
    def by_node(part: AuditPart) -> dict[str, float]:
        return {f"{node.latent}@{node.position} {node.hook}": node.share for node in part.shares}

    file, now = by_node(claimed), by_node(fresh)
    for node in {**file, **now}:
        yield from check_close(f"audit.shares.nodes[{node}]", file.get(node, 0.0), now.get(node, 0.0), tolerance)
