"""Measures an audit again, with the settings and seeds it recorded, and says which of its numbers still hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from circuit_tui.core.audit.finding import AuditProgress, Finding, outcome
from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.open_audit import audited_circuit
from circuit_tui.core.audit.report import audit_part, settings_of
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.circuits.audit_schema import AuditPart, FindingPart
from circuit_tui.core.circuits.recheck import Row, close_rows, same_row
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.search.spec import SearchSpec


def recheck(
    experiment: Experiment,
    kept: Tensor,
    file: CircuitFile,
    text: Path | None,
    tolerance: float,
    *,
    searches: bool,
    progress: Callable[[AuditProgress], None] = lambda step: None,
) -> tuple[Row, ...]:
    """Returns every field of the file's audit that was measured again; `kept` `[node]` bool is the file's circuit.

    `text` is where the audit's text is now. Without `searches` the lines that rest on searches are left as they are.

    Raises:
        UserError: the text cannot be read, or the method that searched is unknown here.
    """
    claimed = file.audit
    if claimed is None:
        return ()
    used = SearchSpec(claimed.search.method, claimed.search.target, 0, claimed.search.settings).complete()
    subject = audited_circuit(experiment, kept, used, file.method.target, settings_of(claimed, text))
    keys = {finding.key for finding in claimed.findings}
    lines = tuple(
        line for line in LINES if line.key in keys and (searches or not line.searches(subject.settings))
    )  # fmt: skip
    auditing = Audit(subject, lines)
    for step in auditing:
        progress(step)
    return tuple(_rows(claimed, audit_part(auditing.result), tolerance, searches=searches))


def left_out(claimed: AuditPart) -> tuple[str, ...]:
    """The titles of the lines that rest on searches."""
    resting = {"shuffled": claimed.settings.shuffles, "seeds": claimed.settings.seeds}
    resting["resamplings"] = claimed.settings.resamplings
    return tuple(finding.title for finding in claimed.findings if resting.get(finding.key))


def _rows(claimed: AuditPart, fresh: AuditPart, tolerance: float, *, searches: bool) -> Iterator[Row]:
    known = {line.key for line in LINES}
    keys = [finding.key for finding in claimed.findings]
    lines = tuple(Finding(finding.key, finding.verdict, finding.says) for finding in claimed.findings)
    finished = set(keys) == known and len(keys) == len(known)
    yield same_row("audit.finished", str(claimed.finished), str(finished))
    yield same_row("audit.outcome", claimed.outcome, outcome(lines, finished=finished))
    if claimed.text is not None and fresh.text is not None:
        yield same_row("audit.text.sha256", claimed.text.sha256, fresh.text.sha256)
    again = {finding.key: finding for finding in fresh.findings}
    for finding in claimed.findings:
        if finding.key not in known:
            yield Row(f"audit.{finding.key}", finding.verdict, None, False)
        elif finding.key in again:
            yield from _finding_rows(finding, again[finding.key], tolerance)
    if searches:
        yield same_row("audit.runs", len(claimed.runs), len(fresh.runs))
        for index, (run, now) in enumerate(zip(claimed.runs, fresh.runs, strict=False)):
            for name in ("kind", "seed", "draw", "size", "reached"):
                yield same_row(f"audit.runs[{index}].{name}", getattr(run, name), getattr(now, name))
        yield from _share_rows(claimed, fresh, tolerance)


def _finding_rows(claimed: FindingPart, now: FindingPart, tolerance: float) -> Iterator[Row]:
    path = f"audit.{claimed.key}"
    yield same_row(f"{path}.verdict", claimed.verdict, now.verdict)
    for name in {**now.numbers, **claimed.numbers}:
        ours, theirs = now.numbers.get(name), claimed.numbers.get(name)
        if ours is None or theirs is None:
            yield same_row(f"{path}.{name}", theirs, ours)
        else:
            yield from close_rows(f"{path}.{name}", float(theirs), float(ours), tolerance)


def _share_rows(claimed: AuditPart, fresh: AuditPart, tolerance: float) -> Iterator[Row]:
    def by_node(part: AuditPart) -> dict[str, float]:
        return {f"{node.latent}@{node.position} {node.hook}": node.share for node in part.shares}

    theirs, ours = by_node(claimed), by_node(fresh)
    for node in {**theirs, **ours}:
        yield from close_rows(f"audit.shares.nodes[{node}]", theirs.get(node, 0.0), ours.get(node, 0.0), tolerance)
