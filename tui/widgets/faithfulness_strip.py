"""The strip at the top: what is open, and the numbers of the current circuit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.style import Style
from textual.strip import Strip

from circuit_tui.core.audit.limits import metric_verdicts
from circuit_tui.tui.drawing.line import StyledLine, cut, name_of, printable
from circuit_tui.tui.drawing.number_text import count, duration, fixed, percent, signed
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.widgets.lines_view import LinesView

if TYPE_CHECKING:
    from circuit_tui.core.views import CircuitView, SessionInfo

CARDS: tuple[tuple[str, str, int], ...] = (
    ("faithfulness", "faithfulness 95% CI", 20),
    ("faithfulness_spliced", "vs M_s", 7),
    ("completeness", "completeness", 13),
    ("kl", "KL nats", 8),
    ("accuracy", "accuracy", 9),
    ("nodes", "nodes", 13),
)
"""Each number by its name in `Metrics`: its heading, and the cells that it takes."""
FEWER_BELOW = 100  # cells; a narrower strip leaves `vs M_s` out
ESTIMATED = "≈"  # marks numbers from a sample of the prompts, which exact ones soon replace
WAITING = "…"  # stands where a number is being computed and no good estimate is there
WARNING = "!"  # follows a number beyond the audit's limits, so that it is seen without colour


class FaithfulnessStrip(LinesView):
    """Three lines: what is open; the names of the numbers and the last edit; the numbers and the edit's effect."""

    def __init__(self) -> None:
        super().__init__(id="strip")
        self._state = EngineState()

    def show(self, state: EngineState) -> None:
        """Show the numbers of `state`."""
        self._state = state
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        return [self._what_is_open(width), self._names(width), self._numbers(width)]

    def _what_is_open(self, width: int) -> Strip:
        state, pane_styles = self._state, self.pane_styles
        line = StyledLine().add(" circuit-tui ", pane_styles.title)
        info, table = state.info, state.table
        if info is None or table is None:
            return line.add("opening …" if state.phase == "loading" else "", pane_styles.muted).strip()
        status = [part for part in (self._search_status(), self._audit_status()) if part[0]]
        room = width - sum(len(text) + 2 for text, _ in status)
        sites = " ".join(site.short for site in table.sites)
        model = name_of(info.model)
        for index, text in enumerate((model, info.task, f"{sites} ({info.positions_kind})", self._device(info))):
            if line.width + 3 >= room:
                break
            line.add(" · " if index else " ", pane_styles.muted)
            line.add(cut(printable(text), room - line.width), pane_styles.strong if index < 2 else pane_styles.plain)
        line.pad_to(room)
        for text, style in status:
            line.add(" ").add(text, style).add(" ")
        return line.strip()

    def _device(self, info: SessionInfo) -> str:
        memory = self._state.memory
        used = "" if memory is None else f" {memory.used / 2**30:.1f}/{memory.total / 2**30:.0f} GiB"
        return f"{info.device}{used} {info.dtype}"

    def _search_status(self) -> tuple[str, Style]:
        search, pane_styles = self._state.search, self.pane_styles
        progress = search.progress
        if not search.live:
            return "", pane_styles.muted
        if search.phase == "paused":
            return "search paused (p)", pane_styles.warn
        if progress is None:
            return "search starting", pane_styles.key
        rate = "" if search.rate is None else f" {search.rate:.{0 if search.rate >= 10 else 1}f}/s"
        left = "" if progress.seconds_left is None else f" {duration(progress.seconds_left)} left"
        return f"{progress.stage}{rate}{left}", pane_styles.key

    def _audit_status(self) -> tuple[str, Style]:
        """The audit's verdict, with how far it is before it has one."""
        audit, pane_styles = self._state.audit, self.pane_styles
        if audit is None or not audit.findings:
            return "", pane_styles.muted
        progress = audit.progress
        running = progress is not None and audit.outcome == "not finished"
        text = f"{progress.done}/{progress.total}" if running and progress is not None else audit.outcome
        return f"audit: {text}", pane_styles.outcome(audit.outcome)

    def _cards(self, width: int) -> list[tuple[str, str, int]]:
        cards = [card for card in CARDS if width >= FEWER_BELOW or card[0] != "faithfulness_spliced"]
        if width < FEWER_BELOW:  # what the last change was needs the cells that the nodes leave
            cards[-1] = (*cards[-1][:2], len(self._node_count()) + 2)
        return cards

    def _node_count(self) -> str:
        """The nodes of the circuit and those in all."""
        circuit, table = self._state.circuit, self._state.table
        return "nodes" if circuit is None or table is None else f"{count(circuit.size)} / {count(len(table))}"

    def _names(self, width: int) -> Strip:
        circuit, pane_styles = self._state.circuit, self.pane_styles
        line = StyledLine().add(" ")
        for _, heading, cells in self._cards(width):
            line.left(heading, cells, pane_styles.muted)
        change = printable(circuit.last_change) if circuit and circuit.last_change else "last change"
        return line.add(cut(change, max(0, width - line.width - 1)), pane_styles.muted).strip()

    def _numbers(self, width: int) -> Strip:
        circuit, table, pane_styles = self._state.circuit, self._state.table, self.pane_styles
        line = StyledLine().add(" ")
        if circuit is None or table is None:
            for _, _, cells in self._cards(width):
                line.left("–", cells, pane_styles.muted)
            return line.add("–", pane_styles.muted).strip()
        texts, verdicts = _texts(circuit), self._verdicts(circuit)
        for name, _, cells in self._cards(width):
            start = line.width
            if name == "nodes":
                line.add(count(circuit.size), pane_styles.strong).add(f" / {count(len(table))}", pane_styles.muted)
                line.pad_to(max(start + cells, line.width + 1))
                continue
            text, verdict = texts[name], verdicts.get(name, "good")
            warned = text[0] not in "…–" and verdict in ("doubtful", "bad")
            style = pane_styles.title if name == "faithfulness" else pane_styles.strong
            if warned:
                style = pane_styles.strong + (pane_styles.bad if verdict == "bad" else pane_styles.warn)
            line.add(text + (WARNING if warned else ""), style if text[0] not in "…–" else pane_styles.muted)
            interval = circuit.test.faithfulness_interval
            if name == "faithfulness" and interval is not None and not circuit.estimated:
                line.add(f" {fixed(interval[0])}–{fixed(interval[1])}", pane_styles.muted)
            line.pad_to(max(start + cells, line.width + 1))
        return self._last_change(line).strip()

    def _verdicts(self, circuit: CircuitView) -> Mapping[str, str]:
        """The verdicts on the numbers; none on the empty circuit, which nobody takes for one."""
        info = self._state.info
        if info is None or not circuit.size:
            return {}
        return metric_verdicts(circuit.test, info.test.plain, info.test.empty, circuit.target)

    def _last_change(self, line: StyledLine) -> StyledLine:
        circuit, pane_styles = self._state.circuit, self.pane_styles
        if circuit is None or not circuit.last_change:
            return line.add("none yet", pane_styles.muted)
        if circuit.delta is None:
            return line.add(WAITING if circuit.estimated else "", pane_styles.muted)
        arrow = "•" if abs(circuit.delta) < 0.0005 else "▲" if circuit.delta > 0 else "▼"
        about = ESTIMATED if circuit.standard_errors and circuit.standard_errors.faithfulness else ""
        return line.add(
            f"{arrow} {about}{signed(circuit.delta)}", pane_styles.strong + pane_styles.change(circuit.delta)
        )


def _texts(circuit: CircuitView) -> dict[str, str]:
    """The numbers of a circuit as text, by their names."""
    test, errors = circuit.test, circuit.standard_errors
    texts = {
        "faithfulness": fixed(test.faithfulness),
        "faithfulness_spliced": fixed(test.faithfulness_spliced),
        "completeness": fixed(test.completeness, 3, WAITING if circuit.size else "–"),
        "kl": fixed(test.kl),
        "accuracy": percent(test.accuracy),
    }
    if errors is not None:
        texts["accuracy"] = WAITING  # nothing says how far off an estimate of it could be
        for name in ("faithfulness", "faithfulness_spliced", "kl"):
            texts[name] = _estimated(texts[name], getattr(errors, name))
        if errors.faithfulness:
            texts["faithfulness"] += f"±{fixed(errors.faithfulness)}"
    return texts


def _estimated(number: str, error: float | None) -> str:
    """`number` with the mark of an estimate, without where it is exact; `WAITING` where its error is unknown."""
    return WAITING if error is None else ESTIMATED + number if error else number
