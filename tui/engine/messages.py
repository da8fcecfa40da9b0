"""Messages between the engine, the panes and the screen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual.message import Message
from typing_extensions import override

if TYPE_CHECKING:
    from circuit_tui.tui.engine.commands import ExportCommand

Severity = Literal["information", "warning", "error"]


@dataclass
class StateChanged(Message):
    """The engine answered a command: show its state now rather than at the next tick."""

    bubble = False

    @override
    def can_replace(self, message: Message) -> bool:
        # Several in the queue are worth one.
        return isinstance(message, StateChanged)


@dataclass
class Notice(Message):
    """One line for the user."""

    text: str
    severity: Severity = "information"


@dataclass
class Exported(Message):
    """Something was written to `path`, in place of a file of circuit-tui of the kind `replaced`, if any."""

    path: Path
    replaced: str | None = None


@dataclass
class ForeignFile(Message):
    """Nothing was exported: circuit-tui did not write the file that is there. `forced` replaces it."""

    forced: ExportCommand


@dataclass
class OpenedAnother(Message):
    """Another session is open: the screen begins anew."""


@dataclass
class NodeChosen(Message):
    """Show this node in the circuit pane."""

    node: int


@dataclass
class PromptChosen(Message):
    """Show which nodes are active on this prompt."""

    index: int


class NoticeHandler(logging.Handler):
    """Turns log records for the user into notices. `post` may be called from any thread."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        super().__init__()
        self._post = post

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._post(Notice(record.getMessage(), "warning"))
