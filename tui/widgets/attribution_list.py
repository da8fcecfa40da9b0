"""The attribution tree as a list: the parts of M's answer, and below each opened latent its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from circuit_tui.core.attribution.parts import AttributionPart, Expansion, LatentTarget, Target, part_text
from circuit_tui.core.session.trial_view import TrialView
from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.drawing.line import StyledLine, token_text, wrap
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.widgets.line_list import LineList

ABOUT = (
    "Type any prompt above and press enter. The circuit runs on it, and M's answer is taken apart: which latent, at "
    "which token, through which head adds what to its logit. → opens a latent, ← closes it, back to the embeddings. "
    "Attention patterns, norm scales and MLPs are held; the parts add up."
)
NUMBER, SHARE, WAY = 9, 7, 11
Path = tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A part of the last target of `path`, or that target itself (`part` None)."""

    path: Path
    part: AttributionPart | None
    expansion: Expansion

    @property
    def below(self) -> Path | None:
        """The path to the expansion of the part's latent; None if it has none."""
        part = self.part
        if part is None or part.site is None or part.latent is None or part.token is None:
            return None
        return (*self.path, LatentTarget(part.site, part.latent, part.token))


class AttributionList(LineList):
    """One line for each part. Right opens a latent, left closes it or goes to the line above its parts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", show=False),
        Binding("right,l", "open", show=False),
        Binding("left,h", "close", show=False),
    ]

    class Opened(Message):
        """A latent was opened that has not been taken apart yet."""

        def __init__(self, target: Target) -> None:
            super().__init__()
            self.target = target

    def __init__(self) -> None:
        super().__init__(id="attribution-list")
        self._trial: TrialView | None = None
        self._table: NodeTable | None = None
        self._kept = b""
        self._in_circuit: set[tuple[int, int]] = set()
        self._open: set[Path] = set()
        self._rows: list[_Row] = []

    def show(self, trial: TrialView | None, table: NodeTable | None, circuit: CircuitView | None) -> None:
        """Show the expansions of `trial`; the cursor stays on its line."""
        kept = b"" if circuit is None else circuit.kept
        fresh = trial is not None and (self._trial is None or trial.expansions[:1] != self._trial.expansions[:1])
        changed = trial is not self._trial or kept != self._kept
        self._trial, self._table, self._kept = trial, table, kept
        if fresh:
            self._open.clear()
        if changed:
            self._list(0 if fresh else None)

    def _list(self, cursor: int | None = None) -> None:
        self._rows, table = [], self._table
        if self._trial is not None and self._trial.expansions:
            nodes = (node for node, on in enumerate(self._kept) if on)
            self._in_circuit = {(table.site[node], table.latent[node]) for node in nodes} if table else set()
            by_target = {each.target: each for each in self._trial.expansions}
            root = self._trial.expansions[0]
            self._rows.append(_Row((root.target,), None, root))
            self._add((root.target,), root, by_target)
        self.set_length(len(self._rows), cursor)
        self.refresh()

    def _add(self, path: Path, expansion: Expansion, by_target: dict[Target, Expansion]) -> None:
        for part in expansion.parts:
            row = _Row(path, part, expansion)
            self._rows.append(row)
            below = row.below
            if below is not None and below in self._open and below[-1] in by_target:
                self._add(below, by_target[below[-1]], by_target)

    @property
    def _current(self) -> _Row | None:
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def chosen(self) -> None:
        row = self._current
        if row is not None and row.below in self._open:
            self.action_close()
        else:
            self.action_open()

    def action_open(self) -> None:
        row = self._current
        below = None if row is None else row.below
        if below is None or self._trial is None:
            return
        self._open.add(below)
        if any(each.target == below[-1] for each in self._trial.expansions):
            self._list()
        else:
            self.post_message(self.Opened(below[-1]))

    def action_close(self) -> None:
        row = self._current
        if row is None:
            return
        if row.below is not None and row.below in self._open:
            self._open = {path for path in self._open if path[: len(row.below)] != row.below}
            self._list()
            return
        above = [index for index in range(self.cursor) if self._rows[index].below == row.path]
        self.move_cursor(above[-1] if above else 0)

    def empty_lines(self, width: int) -> list[Strip]:
        text = self._trial.parts_refused if self._trial is not None else ABOUT
        return [StyledLine().add(" " + line, self.pane_styles.muted).strip() for line in wrap(text, width - 2)]

    def line(self, index: int, width: int) -> Strip:
        row, styles, trial = self._rows[index], self.pane_styles, self._trial
        assert trial is not None
        part, room = row.part, max(12, width - NUMBER - SHARE - WAY - 2)
        if part is None:
            line = StyledLine().left(f" {trial.answer}", room, styles.title).right("through", WAY, styles.muted)
            return line.right(signed(row.expansion.value, 3), NUMBER, styles.strong).right("100%", SHARE).strip()
        below = row.below
        mark = " " if below is None else "▾" if below in self._open else "▸"
        explained = part.kind in ("latent", "embedding")
        line = StyledLine().left(f"{'  ' * (len(row.path) - 1)} {mark} {self._part_name(part)}", room,
                                 styles.plain if explained else styles.muted)  # fmt: skip
        line.right("" if part.head is None else f"head {part.head[0]}.{part.head[1]}", WAY, styles.muted)
        line.right(signed(part.value, 3), NUMBER, styles.change(part.value) if explained else styles.muted)
        whole = row.expansion.value
        return line.right(f"{part.value / whole:.0%}" if whole else "–", SHARE, styles.muted).strip()

    def _part_name(self, part: AttributionPart) -> str:
        trial, table = self._trial, self._table
        assert trial is not None
        where = "" if part.token is None else f" at {part.token} {token_text(trial.tokens[part.token])}"
        short = "" if part.site is None or table is None else table.sites[part.site].short
        kept = "● " if part.site is not None and (part.site, part.latent) in self._in_circuit else ""
        return f"{kept}{part_text(part, short, where)}"
