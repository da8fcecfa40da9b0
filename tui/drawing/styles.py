"""The styles that the panes draw with, computed once for each theme.

Panes draw line by line with these instead of style sheets: a table that looks up a style for every cell is slow.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from textual.color import Color
from textual.theme import Theme
from textual.widget import Widget

from circuit_tui.tui.drawing.themes import DARK

HEAT_LEVELS = 6
GROUP_COLOURS = {
    "blue": "dodger_blue1", "green": "green3", "orange": "dark_orange", "red": "red1", "purple": "medium_purple",
    "teal": "dark_cyan",
}  # fmt: skip


@dataclass(frozen=True)
class PaneStyles:
    """Named styles. `heat` goes from no activation to the strongest; `faint_cursor` is for a list without the focus."""

    plain: Style
    muted: Style
    strong: Style
    title: Style
    key: Style
    good: Style
    bad: Style
    warn: Style
    rule: Style
    cursor: Style
    faint_cursor: Style
    curves: tuple[Style, Style, Style]
    heat: tuple[Style, ...]
    head: Style

    def change(self, delta: float | None) -> Style:
        """The style of a signed change: good above zero, bad below."""
        if delta is None or abs(delta) < 0.0005:
            return self.muted
        return self.good if delta > 0 else self.bad

    def outcome(self, outcome: str) -> Style:
        """The style of what an audit says as a whole."""
        styles = {"believable": self.good, "do not believe": self.bad, "not finished": self.muted}
        return styles.get(outcome, self.warn)

    def group(self, colour: str) -> Style:
        """The style of the sign of a group; without colours it is bold."""
        if self.key.color is None:
            return self.strong
        return Style(color=GROUP_COLOURS.get(colour, "white"))

    def shade(self, share: float) -> Style:
        """The style of an activation, given as a share of the strongest."""
        if share <= 0:
            return self.heat[0]
        return self.heat[max(1, min(HEAT_LEVELS, round(share * HEAT_LEVELS)))]


def _colour(name: str) -> Style:
    return Style.from_color(Color.parse(name).rich_color)


def _without_colour() -> PaneStyles:
    plain, dim, bold = Style(), Style(dim=True), Style(bold=True)
    line, both = Style(underline=True), Style(bold=True, underline=True)
    heat = (plain, plain, line, line, both, both, Style(bold=True, reverse=True))
    return PaneStyles(
        plain=plain,
        muted=dim,
        strong=bold,
        title=bold,
        key=bold,
        good=bold,
        bad=Style(bold=True, underline=True),
        warn=bold,
        rule=dim,
        cursor=Style(reverse=True),
        faint_cursor=Style(underline=True),
        curves=(bold, plain, dim),
        heat=heat,
        head=Style(bold=True, underline=True),
    )


def pane_styles_of(widget: Widget) -> PaneStyles:
    """The styles of the app that `widget` is in. Those of the dark theme if the app has none, as in a bare test."""
    pane_styles = getattr(widget.app, "pane_styles", None)
    return pane_styles if isinstance(pane_styles, PaneStyles) else pane_styles_for(DARK)


def pane_styles_for(theme: Theme, *, colour: bool = True) -> PaneStyles:
    """The styles of `theme`. Without `colour`, only weight, underline and reverse carry meaning."""
    if not colour:
        return _without_colour()
    extra = theme.variables
    heat: tuple[Style, ...]
    if theme.ansi:
        heat = (
            Style(),
            _colour("ansi_yellow"),
            Style(bold=True) + _colour("ansi_yellow"),
            Style(color="black", bgcolor="yellow"),
            Style(color="black", bgcolor="yellow"),
            Style(color="black", bgcolor="bright_yellow"),
            Style(color="black", bgcolor="bright_yellow", bold=True),
        )
        cursor, faint = Style(reverse=True), Style(underline=True)
    else:
        paper, hot = Color.parse(theme.background or "black"), Color.parse(theme.accent or "yellow")
        shades = [paper.blend(hot, 0.12 + 0.73 * level / HEAT_LEVELS) for level in range(1, HEAT_LEVELS + 1)]
        heat = (
            Style(),
            *(Style(color=shade.get_contrast_text(0.95).rich_color, bgcolor=shade.rich_color) for shade in shades),
        )
        cursor = Style(bgcolor=Color.parse(extra["cursor"]).rich_color)
        faint = Style(bgcolor=Color.parse(extra["cursor-blurred"]).rich_color)
    strong = Style(bold=True)
    primary = _colour(theme.primary)
    return PaneStyles(
        plain=Style(),
        muted=_colour(extra["muted"]),
        strong=strong,
        title=strong + primary,
        key=primary,
        good=_colour(theme.success or "green"),
        bad=_colour(theme.error or "red"),
        warn=_colour(theme.warning or "yellow"),
        rule=_colour(extra["rule"]),
        cursor=cursor,
        faint_cursor=faint,
        curves=(_colour(extra["curve-1"]), _colour(extra["curve-2"]), _colour(extra["curve-3"])),
        heat=heat,
        head=_colour(extra["muted"]),
    )
