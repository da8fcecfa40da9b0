"""The table of pairs that make up an attention score, for the commands `attribute` and `edges`."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tui.core.attribution.score_parts import HeadScore, ScoreSide, side_text
from circuit_tui.tui.commands import output


def print_score(score: HeadScore, tokens: Sequence[str], shorts: Sequence[str]) -> None:
    """Print the pairs that make up a head's score; `shorts` are the short names of the sites."""

    def side(side: ScoreSide | None, count: int = 1) -> str:
        return side_text(side, "" if side is None or side.site is None else shorts[side.site], count)

    at, seen = (f"{token}:{tokens[token].strip()}" for token in (score.query, score.key))
    output.print_line(
        f"head {score.block}.{score.head} looks from {at} to {seen} with {score.weight:.1%} of its attention; "
        f"score {output.number(score.value)}, {output.number(score.capped)} for the softmax"
    )
    output.print_line()
    rows = [(side(part.query, part.count), side(part.key), output.number(part.value)) for part in score.parts]
    output.print_table((f"at {at}", f"at {seen}", "adds"), rows, right=("adds",))
    output.print_line()
    output.print_line(f"the pairs add up to {output.number(score.total)}")
