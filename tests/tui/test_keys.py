"""A key means one thing in one place, and the help names every key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import ModalScreen

from circuit_tui.tui.actions import ACTIONS, HINTS, PANES
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import DARK
from circuit_tui.tui.screens import choose_columns, compare, confirm_quit, confirm_replace, jobs
from circuit_tui.tui.screens import help as help_screen
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.screens.help import HelpText
from circuit_tui.tui.widgets.edge_graph import EdgeGraphView
from circuit_tui.tui.widgets.edge_why import EdgeWhy
from circuit_tui.tui.widgets.key_footer import EXTRA
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.lines_view import ScrollingLines
from circuit_tui.tui.widgets.panes import HOMES

Make = Callable[..., ExplorerApp]
SHOWN = {
    "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "page up", "pagedown": "down", "slash": "/",
    "full_stop": ".", "comma": ",", "question_mark": "?", "escape": "esc", "left_square_bracket": "[",
    "right_square_bracket": "]", "left_curly_bracket": "{", "right_curly_bracket": "}", "colon": ":",
    "plus": "+", "minus": "-",
}  # fmt: skip
SILENT = {"home", "end", "greater_than_sign", "less_than_sign", "f1", "ctrl+q", "ctrl+c"}
"""Keys that do what another key of the same action does, which the help names."""
MEANING = {"cursor_by": "move", "scroll_down": "move", "scroll_up": "move"}


def own_bindings(kind: type[DOMNode]) -> Iterable[tuple[str, str]]:
    """Each key of a widget and its action, those of its bases in our code included, without what they override."""
    seen: dict[str, str] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("circuit_tui."):
            for binding in base.__dict__.get("BINDINGS", ()):
                assert isinstance(binding, Binding)
                for key in binding.key.split(","):
                    seen.setdefault(key, binding.action)
    return seen.items()


def screen_keys() -> list[tuple[str, str]]:
    return [(key, action.name) for action in ACTIONS for key in action.keys.split(",")]


VIEWS: tuple[type[DOMNode], ...] = (*HOMES.values(), EdgeGraphView, EdgeWhy)
"""All widgets with keys of their own that a pane shows first, or in another view."""


@pytest.mark.parametrize("view", VIEWS)
def test_in_a_pane_no_key_has_two_meanings(view: type[DOMNode]) -> None:
    meanings: dict[str, set[str]] = defaultdict(set)
    for key, action in (*screen_keys(), *own_bindings(view)):
        meanings[key].add(action)
    assert {key: actions for key, actions in meanings.items() if len(actions) > 1} == {}
    assert len({key for key, _ in screen_keys()}) == len(screen_keys())


DIALOGS = [
    kind
    for module in (choose_columns, compare, confirm_quit, confirm_replace, help_screen, jobs)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, ModalScreen) and kind is not Dialog
]


@pytest.mark.parametrize("kind", [*DIALOGS, AskText])
def test_in_a_dialog_no_key_has_two_meanings(kind: type[DOMNode]) -> None:
    keys = [key for binding in kind.__dict__.get("BINDINGS", ()) for key in binding.key.split(",")]  # type: ignore[attr-defined]
    moving = {key for base in (LineList, ScrollingLines) for key, _ in own_bindings(base)}
    assert len(keys) == len(set(keys))
    assert not set(keys) & moving


class Text(HelpText):
    pane_styles = pane_styles_for(DARK)  # type: ignore[assignment]


def test_the_help_names_every_key() -> None:
    lines = [line.text for line in Text().build(90)]
    named = {word for line in lines for word in line[:21].replace(",", " , ").split()}
    named |= {"page up", "down", ","}
    for key, _ in (*screen_keys(), *(pair for widget in VIEWS for pair in own_bindings(widget))):
        if key not in SILENT | {"ctrl+u", "ctrl+d"}:
            assert SHOWN.get(key, key) in named, key
    text = "\n".join(lines)
    assert "ctrl+u, ctrl+d" in text
    assert all(action.title.split()[0] in text for action in ACTIONS)


def test_each_pane_has_hints_and_a_home() -> None:
    assert set(HINTS) == set(EXTRA) == set(HOMES) == set(PANES)
    assert len(set(PANES.values())) == len(PANES)
