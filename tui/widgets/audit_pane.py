"""The audit pane: each finding as it arrives, with its verdict and what it means."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from circuit_tui.core.audit.finding import AuditProgress, Finding, reasons
from circuit_tui.core.audit.view import AuditView
from circuit_tui.tui.drawing.line import StyledLine, plain, wrap
from circuit_tui.tui.drawing.number_text import duration
from circuit_tui.tui.drawing.styles import PaneStyles
from circuit_tui.tui.widgets.lines_view import ScrollingLines

ABOUT = (
    "The audit: can this circuit be believed? It looks at held-out prompts, errors that cancel, completeness, other "
    "ablations, the whole distribution, random circuits, the same search on nonsense, and whether other seeds and "
    "prompts give the same circuit. Cheap measures come first, then the searches: quick ones on a part of the search "
    "prompts, or full ones. It runs in the background, and is dropped when the circuit changes."
)
STARTS = (
    ("A", "starts one"),
    ("F", "starts one in full, with searches like the circuit's own; it takes minutes"),
    ("T", "starts one that measures the cost of the SAEs on a text of yours"),
)
MARKS = {"good": "●", "doubtful": "◐", "bad": "○", "not measured": "–"}
VERDICT_WIDTH = 13
INDENT = 3


class AuditPane(ScrollingLines):
    """Shows an `AuditView`."""

    def __init__(self) -> None:
        super().__init__(id="audit", classes="pane")
        self.border_title = "Audit"
        self._audit: AuditView | None = None

    def show(self, audit: AuditView | None) -> None:
        """Show the audit of the current circuit; None if there is none."""
        self._audit = audit
        self.border_subtitle = plain(audit.outcome) if audit is not None and audit.findings else ""
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        audit, pane_styles = self._audit, self.pane_styles
        if audit is None:
            text = [StyledLine().add(" " + line, pane_styles.muted).strip() for line in wrap(ABOUT, width - 2)]
            return [
                Strip.blank(1),
                *text,
                Strip.blank(1),
                *(_offer(key, does, pane_styles) for key, does in STARTS),
            ]
        lines = [
            *self._outcome(audit, width),
            *([_progress(audit.progress, pane_styles)] if audit.progress else []),
            *([_offer("A", "continues it", pane_styles)] if _stopped(audit) else []),
            *([_offer("F", "runs its searches in full", pane_styles)] if audit.quick and _finished(audit) else []),
            Strip.blank(1),
        ]
        for finding in audit.findings:
            lines += _finding(finding, width, pane_styles)
        return lines

    def _outcome(self, audit: AuditView, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        style = {
            "believable": pane_styles.good,
            "do not believe": pane_styles.bad,
            "not finished": pane_styles.muted,
        }.get(audit.outcome, pane_styles.warn)
        because = reasons(audit.findings)
        intro = "against it so far:" if audit.outcome == "not finished" else "because of"
        why = wrap(f"{intro} {', '.join(because)}", width - INDENT - 1) if because else []
        first = StyledLine().add(" ").add(audit.outcome, pane_styles.strong + style).strip()
        return [first, *(StyledLine().add(" " * INDENT + line, pane_styles.plain).strip() for line in why)]


def _stopped(audit: AuditView) -> bool:
    """Whether the audit was stopped before its end."""
    return audit.progress is None and audit.outcome == "not finished"


def _finished(audit: AuditView) -> bool:
    """Whether the audit ran to its end."""
    return audit.progress is None and audit.outcome != "not finished"


def _offer(key: str, does: str, pane_styles: PaneStyles) -> Strip:
    return StyledLine().add(f" {key}", pane_styles.key).add(f"  {does}", pane_styles.muted).strip()


def _progress(step: AuditProgress, pane_styles: PaneStyles) -> Strip:
    line = (
        StyledLine()
        .add(f" {min(step.done + 1, step.total)}/{step.total} ", pane_styles.key)
        .add(step.title, pane_styles.plain)
    )
    left = f"  {duration(step.seconds_left)} left" if step.seconds_left is not None else ""
    return line.add(f"  {step.share:.0%}{left}", pane_styles.muted).strip()


def _finding(finding: Finding, width: int, pane_styles: PaneStyles) -> list[Strip]:
    style = verdict_style(finding.verdict, pane_styles)
    head = StyledLine().add(f" {MARKS[finding.verdict]} ", style).left(finding.verdict, VERDICT_WIDTH, style)
    head.add(finding.title, pane_styles.strong if finding.verdict != "not measured" else pane_styles.muted)
    return [
        head.strip(),
        *(
            StyledLine().add(" " * INDENT + line, pane_styles.muted).strip()
            for line in wrap(finding.says, width - INDENT - 1)
        ),
    ]


def verdict_style(verdict: str, pane_styles: PaneStyles) -> Style:
    """The style of a verdict."""
    return {"good": pane_styles.good, "doubtful": pane_styles.warn, "bad": pane_styles.bad}.get(
        verdict, pane_styles.muted
    )
