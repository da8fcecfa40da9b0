"""What a form is made of: a label and a field in a line, and paths that complete themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Label, Select


class PathSuggester(Suggester):
    """The first path, by name, that begins with what was typed; after a comma with what was typed behind it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """See `Suggester`."""
        before, comma, typed = value.rpartition(",")
        if not typed or typed.endswith("/"):
            return None
        path = Path(typed).expanduser()
        try:
            found = sorted(one for one in path.parent.iterdir() if one.name.startswith(path.name))
        except OSError:
            return None
        if not found:
            return None
        return before + comma + typed + found[0].name[len(path.name) :] + ("/" if found[0].is_dir() else "")


def text_field(name: str, value: str, placeholder: str, suggester: Suggester | None = None) -> Input:
    """A line to type in."""
    made = Input(value, placeholder=placeholder, id=name, compact=True, select_on_focus=False, suggester=suggester)
    made.cursor_blink = False
    return made


def choice_field(options: Sequence[str], value: str, name: str) -> Select[str]:
    """One of `options`."""
    return Select([(option, option) for option in options], value=value, allow_blank=False, id=name, compact=True)


def form_line(label: str, field: Widget, *beside: Widget) -> Iterator[Widget]:
    """A labelled field, and what stands to its right."""
    yield Horizontal(Label(label), field, *beside, classes="field")
