"""Why a head that carries an edge looks there: the pairs that make up its attention score, one on each line."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from circuit_tui.core.attribution.parts import Head
from circuit_tui.core.attribution.score_parts import EdgeScore, ScoreSide, side_text
from circuit_tui.core.views import SiteInfo
from circuit_tui.tui.drawing.line import StyledLine, cut, token_text
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.widgets.line_list import LineList

NUMBER, SHARE = 10, 8


class EdgeWhy(LineList):
    """Pairs of what stands at the query and at the key. Left and right go to the edge's other heads.

    Attributes:
        asked: the edge and the head that the view is about; None before one was asked for.
        score: the pairs; None while they are computed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "head(-1)", show=False),
        Binding("right,l", "head(1)", show=False),
        Binding("backspace", "back", show=False),
    ]

    class Asked(Message):
        """The pairs of a head of the edge from `source` to `target` are asked for; None is the strongest."""

        def __init__(self, source: int, target: int, head: Head | None) -> None:
            super().__init__()
            self.source, self.target, self.head = source, target, head

    class Left(Message):
        """The user wants to go back to the edges."""

    def __init__(self) -> None:
        super().__init__(id="edge-why")
        self.asked: tuple[int, int, Head | None] | None = None
        self.score: EdgeScore | None = None
        self._sites: tuple[SiteInfo, ...] = ()

    def ask(self, source: int, target: int, head: Head | None = None) -> None:
        """Ask for the pairs of a head of an edge."""
        self.asked, self.score = (source, target, head), None
        self.set_length(0)
        self.post_message(self.Asked(source, target, head))

    def show(self, score: EdgeScore | None, sites: tuple[SiteInfo, ...]) -> None:
        """Show `score`, if it is of the edge that was asked for."""
        self._sites = sites
        if score is self.score or self.asked is None or score is None:
            return
        head = score.score.block, score.score.head
        if (score.source, score.target) == self.asked[:2] and self.asked[2] in (None, head):
            self.score = score
            self.set_length(len(score.score.parts), 0)

    def action_head(self, step: int) -> None:
        score = self.score
        if score is None:
            return
        at = score.heads.index((score.score.block, score.score.head)) + step
        if 0 <= at < len(score.heads):
            self.ask(score.source, score.target, score.heads[at])

    def action_back(self) -> None:
        self.post_message(self.Left())

    def about(self, width: int) -> list[Strip]:
        """What the pairs are of, and the names of the columns."""
        styles, found = self.pane_styles, self.score
        if found is None:
            return []
        score = found.score
        at, seen = (f"{token} {token_text(found.tokens[token])}" for token in (score.query, score.key))
        others = " ".join(
            f"{block}.{head}" for block, head in found.heads if (block, head) != (score.block, score.head)
        )
        text = (
            f" head {score.block}.{score.head} looks from {at} to {seen} with {score.weight:.1%} of its attention; "
            f"score {score.value:.3f}, {score.capped:.3f} for the softmax"
        )
        lines = [StyledLine().add(cut(text, width), styles.plain).strip()]
        line = StyledLine().add(f" M on test prompt {found.prompt}: ", styles.muted)
        for index, token in enumerate(found.tokens):
            shown = f"{token_text(token)} "
            if line.width + cell_len(shown) > width:
                break
            line.add(shown, styles.strong if index in (score.query, score.key) else styles.muted)
        lines.append(line.strip())
        if others:
            lines.append(StyledLine().add(cut(f" ← → other heads of the edge: {others}", width), styles.muted).strip())
        room = self._room(width)
        head = StyledLine().left(f" at {at}", room, styles.head).left(f"at {seen}", room, styles.head)
        lines.append(head.right("adds", NUMBER, styles.head).right("share", SHARE, styles.head).strip())
        return lines

    def line(self, index: int, width: int) -> Strip:
        assert self.score is not None
        score, styles = self.score.score, self.pane_styles
        part, room = score.parts[index], self._room(width)
        line = StyledLine().left(f" {self._side(part.query, part.count)}", room).left(self._side(part.key), room)
        line.right(signed(part.value), NUMBER, styles.change(part.value))
        return line.right(f"{part.value / score.value:.0%}" if score.value else "–", SHARE, styles.muted).strip()

    def empty_lines(self, width: int) -> list[Strip]:
        return [StyledLine().add("  computing …", self.pane_styles.muted).strip()]

    def _side(self, side: ScoreSide | None, count: int = 1) -> str:
        short = "" if side is None or side.site is None or not self._sites else self._sites[side.site].short
        return side_text(side, short, count)

    def _room(self, width: int) -> int:
        return max(12, (width - NUMBER - SHARE) // 2)
