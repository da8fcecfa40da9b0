"""The audit pane: a verdict for each line as it arrives, and what it means."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from circuit_tui.core.audit.finding import AuditProgress, Finding, reasons
from circuit_tui.core.audit.view import AuditView
from circuit_tui.tui.drawing.line import Line, wrap
from circuit_tui.tui.drawing.number_text import duration
from circuit_tui.tui.drawing.styles import Ink
from circuit_tui.tui.widgets.lines_view import LinesView

ABOUT = (
    "The audit: is this circuit to be believed? Held-out prompts, errors that cancel, completeness, other ablations, "
    "the whole distribution, random circuits, the same search on nonsense, and whether other seeds and prompts give "
    "the same circuit. What is cheap comes first, then the searches: in haste, on a part of the search prompts, or in "
    "full. It goes on in the background, and is put away when the circuit changes."
)
STARTS = (
    ("A", "starts one"),
    ("F", "starts one in full, with searches like the circuit's own; it takes minutes"),
    ("T", "starts one that prices the SAEs on a text of yours"),
)
MARKS = {"good": "●", "doubtful": "◐", "bad": "○", "not measured": "–"}
VERDICT_WIDTH = 13
INDENT = 3


class AuditPane(LinesView):
    """Shows an `AuditView`."""

    def __init__(self) -> None:
        super().__init__(id="audit", classes="pane")
        self.border_title = "Audit"
        self._audit: AuditView | None = None

    def show(self, audit: AuditView | None) -> None:
        """Show what is known of the current circuit; None before an audit of it."""
        self._audit = audit
        self.border_subtitle = audit.outcome if audit is not None and audit.findings else ""
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        audit, ink = self._audit, self.ink
        if audit is None:
            text = [Line().add(" " + line, ink.muted).strip() for line in wrap(ABOUT, width - 2)]
            return [
                Strip.blank(1),
                *text,
                Strip.blank(1),
                *(_offer(key, does, ink) for key, does in STARTS),
            ]
        lines = [
            *self._outcome(audit, width),
            *([_progress(audit.progress, ink)] if audit.progress else []),
            *([_offer("A", "goes on with it", ink)] if _left(audit) else []),
            *([_offer("F", "makes its searches in full", ink)] if audit.quick and _over(audit) else []),
            Strip.blank(1),
        ]
        for finding in audit.findings:
            lines += _finding(finding, width, ink)
        return lines

    def _outcome(self, audit: AuditView, width: int) -> list[Strip]:
        ink = self.ink
        style = {"believable": ink.good, "do not believe": ink.bad, "not finished": ink.muted}.get(
            audit.outcome, ink.warn
        )
        because = reasons(audit.findings)
        intro = "against it so far:" if audit.outcome == "not finished" else "because of"
        why = wrap(f"{intro} {', '.join(because)}", width - INDENT - 1) if because else []
        first = Line().add(" ").add(audit.outcome, ink.strong + style).strip()
        return [first, *(Line().add(" " * INDENT + line, ink.plain).strip() for line in why)]


def _left(audit: AuditView) -> bool:
    """Whether it was stopped before its end."""
    return audit.progress is None and audit.outcome == "not finished"


def _over(audit: AuditView) -> bool:
    """Whether it came to its end."""
    return audit.progress is None and audit.outcome != "not finished"


def _offer(key: str, does: str, ink: Ink) -> Strip:
    return Line().add(f" {key}", ink.key).add(f"  {does}", ink.muted).strip()


def _progress(step: AuditProgress, ink: Ink) -> Strip:
    line = Line().add(f" {min(step.done + 1, step.total)}/{step.total} ", ink.key).add(step.title, ink.plain)
    left = f"  {duration(step.seconds_left)} left" if step.seconds_left is not None else ""
    return line.add(f"  {step.share:.0%}{left}", ink.muted).strip()


def _finding(finding: Finding, width: int, ink: Ink) -> list[Strip]:
    style = verdict_style(finding.verdict, ink)
    head = Line().add(f" {MARKS[finding.verdict]} ", style).left(finding.verdict, VERDICT_WIDTH, style)
    head.add(finding.title, ink.strong if finding.verdict != "not measured" else ink.muted)
    return [
        head.strip(),
        *(Line().add(" " * INDENT + line, ink.muted).strip() for line in wrap(finding.says, width - INDENT - 1)),
    ]


def verdict_style(verdict: str, ink: Ink) -> Style:
    """The style of a verdict."""
    return {"good": ink.good, "doubtful": ink.warn, "bad": ink.bad}.get(verdict, ink.muted)
