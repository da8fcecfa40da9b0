"""An audit as the screen sees it. Plain values, no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circuit_tui.core.audit.finding import AuditProgress, Finding
from circuit_tui.core.choices import Outcome


@dataclass(frozen=True, slots=True)
class AuditView:
    """What is known of the current circuit. `progress` is None where no audit is under way.

    `shares` has the share of the searches with other seeds and on resampled prompts that chose a node, for every node
    that any of them chose; empty while there was none. `quick` says that these searches were made in haste.
    """

    findings: tuple[Finding, ...]
    outcome: Outcome
    progress: AuditProgress | None
    shares: Mapping[int, float]
    quick: bool
