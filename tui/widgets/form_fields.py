"""The parts of a form: labelled fields on one line each, and completion of paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Label, Select
from typing_extensions import override

from circuit_tui.tui.drawing.line import plain, printable
from circuit_tui.tui.widgets.line_input import LineInput


class PathSuggester(Suggester):
    """Suggests the first path by name that begins with what was typed, after the last comma if there is one."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    @override
    async def get_suggestion(self, value: str) -> str | None:
        before, comma, typed = value.rpartition(",")
        if not typed or typed.endswith("/"):
            return None
        path = Path(typed).expanduser()
        try:
            entries = [entry for entry in path.parent.iterdir() if entry.name.startswith(path.name)]
        except OSError:
            return None
        matches = sorted(entry for entry in entries if printable(entry.name) == entry.name)
        if not matches:
            return None
        return before + comma + typed + matches[0].name[len(path.name) :] + ("/" if matches[0].is_dir() else "")


def text_field(name: str, value: str, placeholder: str, suggester: Suggester | None = None) -> LineInput:
    """A line of text that can be edited; `name` is the widget's id."""
    return LineInput(value, placeholder, id=name, suggester=suggester)


def choice_field(options: Sequence[str], value: str, name: str) -> Select[str]:
    """A choice of one of `options`; `name` is the widget's id."""
    shown = [(plain(option), option) for option in options]
    return Select(shown, value=value, allow_blank=False, id=name, compact=True)


def form_line(label: str, field: Widget, *beside: Widget) -> Iterator[Widget]:
    """A label, a field and further widgets to its right, on one line."""
    yield Horizontal(Label(label, markup=False), field, *beside, classes="field")
