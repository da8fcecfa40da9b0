"""The line above a list, which names its columns."""

from __future__ import annotations

from typing import Protocol

from textual.strip import Strip
from typing_extensions import override

from circuit_tui.tui.widgets.lines_view import LinesView


class Headed(Protocol):
    """A list whose columns have names."""

    def heading(self, width: int) -> Strip:
        """The names of the columns."""


class ListHeading(LinesView):
    """The names of the columns of `listed`."""

    def __init__(self, listed: Headed, *, id: str) -> None:
        super().__init__(id=id)
        self._listed = listed

    @override
    def build(self, width: int) -> list[Strip]:
        return [self._listed.heading(width)]
