"""The command palette: every action and every theme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.drawing.themes import THEMES


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
            yield DiscoveryHit(title, run, help=note)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, run, note in self._all():
            if (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), run, help=note)
