"""The progress of a sweep on stderr: bars if it is a terminal, otherwise a line for each run that ends."""

from __future__ import annotations

import time
from typing import Any

from circuit_tui.core.runs.sweep import SweepState
from circuit_tui.tui.commands import progress
from circuit_tui.tui.drawing.number_text import duration


class SweepBar(progress.TerminalBar):
    """One bar for all runs, and one for each worker."""

    def __init__(self) -> None:
        super().__init__("{task.description}", 30, "runs")
        self._workers: dict[int, Any] = {}
        self._started = time.monotonic()

    def show(self, state: SweepState) -> None:
        """Show what has changed."""
        if self._bars is None:
            if state.last is not None:
                progress.say(f"[{ended(state)}/{state.total}] {describe(state)}")
            return
        self._bars.update(self._first, completed=ended(state), total=state.total, text=self._text(state))
        for worker in set(self._workers) - set(state.busy):
            self._bars.remove_task(self._workers.pop(worker))
        for worker, busy in state.busy.items():
            if worker not in self._workers:
                self._workers[worker] = self._bars.add_task("", text="", total=None)
            total = max(busy.steps, busy.step) or None  # unknown while a model is being loaded
            self._bars.update(self._workers[worker], description=str(busy.order), completed=busy.step, total=total)

    def _text(self, state: SweepState) -> str:
        now = state.done + len(state.failed)
        parts = [f"{ended(state)}/{state.total}"]
        if state.failed:
            parts.append(f"{len(state.failed)} failed")
        if now:
            left = state.total - ended(state)
            parts.append(f"{duration((time.monotonic() - self._started) / now * left)} left")
        return " · ".join(parts)


def ended(state: SweepState) -> int:
    """How many runs have ended, including those that were finished before."""
    return state.already_done + state.done + len(state.failed)


def describe(state: SweepState) -> str:
    """The run that ended last, and its outcome."""
    assert state.last is not None
    order, outcome = state.last
    if isinstance(outcome, str):
        return f"{order}: failed: {outcome}"
    reached = "" if outcome.reached else ", target not reached"
    return f"{order}: {outcome.size} nodes, held-out {outcome.test.faithfulness:.3f}{reached}, {outcome.seconds:.1f} s"
