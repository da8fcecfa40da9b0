"""The three themes: dark, light, and the terminal's own sixteen colours."""

from __future__ import annotations

from textual.theme import Theme

from circuit_tui.core.errors import UserError

DARK = Theme(
    name="dark",
    primary="#5fb3b3",
    secondary="#6699cc",
    accent="#fac863",
    success="#99c794",
    warning="#f9ae58",
    error="#ec7f86",
    foreground="#d8dee9",
    background="#12171d",
    surface="#12171d",
    panel="#1b222b",
    dark=True,
    variables={
        "muted": "#7f8c9b",
        "rule": "#2b3541",
        "cursor": "#2c4250",
        "cursor-blurred": "#1e2831",
        "curve-1": "#5fb3b3",
        "curve-2": "#fac863",
        "curve-3": "#c594c5",
        "input-cursor-text-style": "reverse",
    },
)
LIGHT = Theme(
    name="light",
    primary="#00707a",
    secondary="#2f5f9e",
    accent="#9a6700",
    success="#2d7a31",
    warning="#a85800",
    error="#b3261e",
    foreground="#1f2933",
    background="#fbfaf7",
    surface="#fbfaf7",
    panel="#efede7",
    dark=False,
    variables={
        "muted": "#6a737d",
        "rule": "#d5d2c9",
        "cursor": "#cde5e7",
        "cursor-blurred": "#ebeae4",
        "curve-1": "#00707a",
        "curve-2": "#b26a00",
        "curve-3": "#8a3f8a",
        "input-cursor-text-style": "reverse",
    },
)
ANSI = Theme(
    name="ansi",
    ansi=True,
    primary="ansi_cyan",
    secondary="ansi_blue",
    accent="ansi_yellow",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    variables={
        "muted": "ansi_bright_black",
        "rule": "ansi_bright_black",
        "cursor": "ansi_default",
        "cursor-blurred": "ansi_default",
        "curve-1": "ansi_cyan",
        "curve-2": "ansi_yellow",
        "curve-3": "ansi_magenta",
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border": "ansi_cyan",
        "border-blurred": "ansi_bright_black",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_white",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_bright_blue",
        "input-selection-foreground": "ansi_black",
        "scrollbar": "ansi_bright_black",
        "scrollbar-hover": "ansi_bright_black",
        "scrollbar-active": "ansi_white",
        "scrollbar-background": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
    },
)
THEMES = {theme.name: theme for theme in (DARK, LIGHT, ANSI)}


def checked_theme(name: str) -> str:
    """Return `name`. Raises UserError, with the names there are, if no theme is called so."""
    if name not in THEMES:
        raise UserError(f"--theme {name}: there is no such theme; choose one of {', '.join(THEMES)}")
    return name
