"""The strip at the top: what is open, and the numbers of the current circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from textual.strip import Strip

from circuit_tui.tui.drawing.line import StyledLine, cut, printable
from circuit_tui.tui.drawing.number_text import count, duration, fixed, signed
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.widgets.lines_view import LinesView

if TYPE_CHECKING:
    from circuit_tui.core.views import SessionInfo

CARDS = (("faithfulness", 14), ("vs M_s", 8), ("completeness", 14), ("KL nats", 9), ("nodes", 16))
ESTIMATED = "≈"  # marks numbers from a sample of the prompts, which exact ones soon replace
WAITING = "…"  # stands where a number is being computed and no good estimate is there


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
        status, style = self._search_status()
        room = width - len(status) - 2
        sites = " ".join(site.short for site in table.sites)
        for index, text in enumerate((info.model, info.task, f"{sites} ({info.positions_kind})", self._device(info))):
            if line.width + 3 >= room:
                break
            line.add(" · " if index else " ", pane_styles.muted)
            line.add(cut(printable(text), room - line.width), pane_styles.strong if index < 2 else pane_styles.plain)
        return line.pad_to(width - len(status) - 1).add(status, style).strip()

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

    def _names(self, width: int) -> Strip:
        circuit, pane_styles = self._state.circuit, self.pane_styles
        line = StyledLine().add(" ")
        for name, cells in CARDS:
            line.left(name, cells, pane_styles.muted)
        change = printable(circuit.last_change) if circuit and circuit.last_change else "last change"
        return line.add(cut(change, max(0, width - line.width - 1)), pane_styles.muted).strip()

    def _numbers(self, width: int) -> Strip:
        circuit, table, pane_styles = self._state.circuit, self._state.table, self.pane_styles
        line = StyledLine().add(" ")
        if circuit is None or table is None:
            for _, cells in CARDS:
                line.left("–", cells, pane_styles.muted)
            return line.add("–", pane_styles.muted).strip()
        test, errors = circuit.test, circuit.standard_errors
        faithfulness, spliced, kl = fixed(test.faithfulness), fixed(test.faithfulness_spliced), fixed(test.kl)
        if errors is not None:
            faithfulness = _estimated(faithfulness, errors.faithfulness)
            if errors.faithfulness is not None:
                faithfulness += f"±{fixed(errors.faithfulness)}"
            spliced, kl = _estimated(spliced, errors.faithfulness_spliced), _estimated(kl, errors.kl)
        values = (faithfulness, spliced, fixed(test.completeness, 3, WAITING if circuit.size else "–"), kl)
        for index, (text, (_, cells)) in enumerate(zip(values, CARDS, strict=False)):
            line.left(
                text,
                cells,
                pane_styles.title if index == 0 else pane_styles.strong if text[0] not in "…–" else pane_styles.muted,
            )
        start = line.width
        line.add(count(circuit.size), pane_styles.strong).add(f" / {count(len(table))}", pane_styles.muted)
        line.pad_to(max(start + CARDS[-1][1], line.width + 1))
        return self._last_change(line).strip()

    def _last_change(self, line: StyledLine) -> StyledLine:
        circuit, pane_styles = self._state.circuit, self.pane_styles
        if circuit is None or not circuit.last_change:
            return line.add("none yet", pane_styles.muted)
        if circuit.delta is None:
            return line.add(WAITING if circuit.estimated else "", pane_styles.muted)
        arrow = "•" if abs(circuit.delta) < 0.0005 else "▲" if circuit.delta > 0 else "▼"
        about = ESTIMATED if circuit.estimated else ""
        return line.add(
            f"{arrow} {about}{signed(circuit.delta)}", pane_styles.strong + pane_styles.change(circuit.delta)
        )


def _estimated(number: str, error: float | None) -> str:
    """`number` with the mark of an estimate; `WAITING` where its standard error is unknown."""
    return WAITING if error is None else ESTIMATED + number
