"""An audit as a screen shows it. Plain values, no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tui.core.audit.finding import AuditProgress, Finding
from circuit_tui.core.choices import Outcome


@dataclass(frozen=True, slots=True)
class AuditView:
    """What audits say of the current circuit. `progress` is None if no audit is under way.

    `shares` maps each node that a search with another seed or on resampled prompts chose to the share of these searches
    that chose it; it is empty before the first. `quick` means that they were quick searches.
    """

    findings: tuple[Finding, ...]
    outcome: Outcome
    progress: AuditProgress | None
    shares: Mapping[int, float]
    quick: bool
