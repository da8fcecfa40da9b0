"""The command palette: every action and every theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.widgets import Input
from textual.worker import Worker
from typing_extensions import override

from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.drawing.themes import THEMES
from circuit_tui.tui.screens.dialog import on_top
from circuit_tui.tui.widgets.line_input import LONGEST


class ActionPalette(CommandPalette):
    """Textual's palette, which enter or a click may dismiss once only."""

    def on_mount(self) -> None:
        self.query_one(Input).max_length = LONGEST

    @override
    def dismiss(self, result: None = None) -> AwaitComplete:
        if not on_top(self):
            return AwaitComplete()
        self._cancel_gather_commands()
        return super().dismiss(result)

    def _action_command_list(self, action: str) -> None:
        # Textual's list knows its lines only where it has room to draw them, and looks a page's line up unasked.
        found = self.query(CommandList)
        if not (action.startswith("page") and found and not found.first().scrollable_content_region):
            super()._action_command_list(action)

    @override
    def _gather_commands(self, search_value: str) -> Worker[None] | None:  # type: ignore[override]
        # Keys that were typed before it was dismissed still ask for commands when its list has gone.
        return super()._gather_commands(search_value) if on_top(self) else None


def once(run: Callable[[], object]) -> Callable[[], object]:
    """A function that calls `run` the first time only. A second enter in one packet would choose the command again."""
    left = [run]
    return lambda: left.pop()() if left else None


class ActionCommands(Provider):
    """Finds actions by their titles."""

    def _all(self) -> Iterator[tuple[str, Callable[[], object], str]]:
        for action in ACTIONS:
            if action.name != "app.command_palette":
                yield action.title, partial(self.screen.run_action, action.name), f"{action.group}, key {action.shown}"
        for theme in THEMES:
            yield f"Theme: {theme}", partial(setattr, self.app, "theme", theme), "Screen"

    async def discover(self) -> Hits:
        for title, run, note in self._all():
            yield DiscoveryHit(Content(title), once(run), help=note)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, run, note in self._all():
            if (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), once(run), help=note)
