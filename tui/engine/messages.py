"""Messages between the engine, the panes and the screen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textual.message import Message


@dataclass
class StateChanged(Message):
    """The engine answered a command: drain its slot now rather than at the next tick."""

    bubble = False

    def can_replace(self, message: Message) -> bool:
        """Several wakes in the queue are worth one."""
        return isinstance(message, StateChanged)


@dataclass
class Notice(Message):
    """One line for the user."""

    text: str
    severity: Literal["information", "warning", "error"] = "information"


@dataclass
class Exported(Message):
    """The circuit was written."""

    path: Path


@dataclass
class NodeChosen(Message):
    """Show this node in the circuit pane."""

    node: int


@dataclass
class PromptChosen(Message):
    """Show which nodes are active on this prompt."""

    index: int


class TellingHandler(logging.Handler):
    """Makes a notice of what the engine has to tell its user. `post` may be called from any thread."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        super().__init__()
        self._post = post

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._post(Notice(record.getMessage(), "warning"))
