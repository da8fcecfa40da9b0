"""The audit pane: a table of the findings, the worst first; each opens into what it means."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.core.audit.finding import AuditProgress, Finding, reasons
from circuit_tui.core.audit.view import AuditView
from circuit_tui.tui.drawing.line import StyledLine, wrap
from circuit_tui.tui.drawing.number_text import duration
from circuit_tui.tui.drawing.styles import PaneStyles
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.lines_view import LinesView

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
ORDER = ("bad", "doubtful", "good", "not measured")
VERDICT_WIDTH, NAME_WIDTH = 13, 34
INDENT = 3


class AuditSummary(LinesView):
    """What the audit says as a whole, and how far it is."""

    def __init__(self) -> None:
        super().__init__(id="audit-summary")
        self._audit: AuditView | None = None

    def show(self, audit: AuditView | None) -> None:
        """Show the outcome of `audit`; before there is one, what an audit is."""
        self._audit = audit
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
        return [
            *self._outcome(audit, width),
            *([_progress(audit.progress, pane_styles)] if audit.progress else []),
            *([_offer("A", "continues it", pane_styles)] if _stopped(audit) else []),
            *([_offer("F", "runs its searches in full", pane_styles)] if audit.quick and _finished(audit) else []),
        ]

    def _outcome(self, audit: AuditView, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        because = reasons(audit.findings)
        intro = "against it so far:" if audit.outcome == "not finished" else "because of"
        why = wrap(f"{intro} {', '.join(because)}", width - INDENT - 1) if because else []
        style = pane_styles.strong + pane_styles.outcome(audit.outcome)
        first = StyledLine().add(" ").add(audit.outcome, style).strip()
        return [first, *(StyledLine().add(" " * INDENT + line, pane_styles.plain).strip() for line in why)]


class AuditTable(LineList):
    """One line for each finding, the worst first: verdict, name, key number. Enter opens its paragraph below it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]

    def __init__(self) -> None:
        super().__init__(id="audit-table")
        self._findings: tuple[Finding, ...] = ()
        self._open: set[str] = set()
        self._rows: list[tuple[Finding, str | None]] = []  # a finding and a line of its paragraph; None for its own

    def show(self, findings: tuple[Finding, ...]) -> None:
        """Show `findings`; the cursor stays on its line."""
        if findings is not self._findings:
            self._findings = findings
            self._open &= {finding.key for finding in findings}
            self._list()

    def _list(self) -> None:
        current = self._rows[self.cursor] if self.cursor < len(self._rows) else None
        width = self.scrollable_content_region.width - INDENT - 1
        self._rows = []
        for finding in sorted(self._findings, key=_rank):
            self._rows.append((finding, None))
            if finding.key in self._open:
                self._rows += [(finding, line) for line in wrap(finding.says, max(20, width))]
        keys = [(finding.key, line) for finding, line in self._rows]
        wanted = None if current is None else (current[0].key, current[1])
        self.set_length(len(self._rows), keys.index(wanted) if wanted in keys and self.cursor else 0)

    def on_resize(self, event: events.Resize) -> None:
        self._list()

    def chosen(self) -> None:
        if self.cursor < len(self._rows):
            finding, _ = self._rows[self.cursor]
            self._open ^= {finding.key}
            self.cursor = next(i for i, (each, line) in enumerate(self._rows) if each is finding and line is None)
            self._list()

    def line(self, index: int, width: int) -> Strip:
        finding, text = self._rows[index]
        pane_styles = self.pane_styles
        if text is not None:
            return StyledLine().add(" " * INDENT + text, pane_styles.muted).strip()
        style = verdict_style(finding.verdict, pane_styles)
        measured = finding.verdict != "not measured"
        line = StyledLine().add(f" {MARKS[finding.verdict]} ", style).left(finding.verdict, VERDICT_WIDTH, style)
        name = finding.title + (" *" if finding.decides else "")
        line.left(name, min(NAME_WIDTH, width - line.width), pane_styles.strong if measured else pane_styles.muted)
        return line.add(finding.key_number, pane_styles.plain if measured else pane_styles.muted).strip()


def _rank(finding: Finding) -> tuple[int, bool]:
    """The place of a finding in the table: the worst verdict first, of two alike the one that decides."""
    return ORDER.index(finding.verdict), not finding.decides


class AuditPane(Vertical):
    """Shows an `AuditView`."""

    def __init__(self) -> None:
        super().__init__(id="audit", classes="pane")
        self.border_title = "Audit"

    def compose(self) -> ComposeResult:
        yield AuditSummary()
        yield AuditTable()

    def show(self, audit: AuditView | None) -> None:
        """Show the audit of the current circuit; None if there is none."""
        self.border_subtitle = "* decides" if audit is not None and audit.findings else ""
        self.query_one(AuditSummary).show(audit)
        self.query_one(AuditTable).show(audit.findings if audit is not None else ())


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


def verdict_style(verdict: str, pane_styles: PaneStyles) -> Style:
    """The style of a verdict."""
    return {"good": pane_styles.good, "doubtful": pane_styles.warn, "bad": pane_styles.bad}.get(
        verdict, pane_styles.muted
    )
