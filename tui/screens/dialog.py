"""The base of all dialogs: one that is dismissed twice closes once."""

from __future__ import annotations

from typing import Any

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen, ScreenResultType
from typing_extensions import override


def on_top(screen: Screen[Any]) -> bool:
    """Whether `screen` is the one that the user sees: Textual's `dismiss` closes that one, whichever it is called on.

    A second key or click in the same packet would close the screen below.
    """
    return screen.app.screen_stack[-1:] == [screen]


class Dialog(ModalScreen[ScreenResultType]):
    """A question or a list over the explorer."""

    @override
    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        return super().dismiss(result) if on_top(self) else AwaitComplete()
