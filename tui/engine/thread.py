"""The engine's thread, and what lies between it and the screen: commands come in by a queue, the state goes out.

The state is an immutable object in a slot that holds only the newest one. Nothing else is shared.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.message import Message

from circuit_tui.core.errors import UserError
from circuit_tui.core.runtime.out_of_memory import describe_error
from circuit_tui.tui.engine.commands import Command, View
from circuit_tui.tui.engine.messages import Notice, Severity, StateChanged
from circuit_tui.tui.engine.state import EngineState

log = logging.getLogger("circuit_tui")


class EngineThread(ABC):
    """Runs `_run` in a thread. `post` delivers a message to the screen and may be called from any thread."""

    def __init__(self, post: Callable[[Message], object], log_hint: str) -> None:
        self._post, self._log_hint = post, log_hint
        self._queue: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._n_submitted, self._n_served = 0, 0  # commands that are no views; each is counted by one thread
        self._stop = threading.Event()
        # A daemon, because nothing can interrupt an import of torch: quitting must not wait for it.
        self._thread = threading.Thread(target=self._run_guarded, name="engine", daemon=True)
        self._state = EngineState()

    @abstractmethod
    def _run(self) -> None:
        """Everything that the thread does."""

    @abstractmethod
    def _patience(self) -> float | None:
        """Seconds to wait for a command before doing something else; None if there is nothing else to do."""

    # Called from the screen's thread.

    @property
    def state(self) -> EngineState:
        """The newest state."""
        return self._state

    @property
    def alive(self) -> bool:
        """Whether the thread is still running."""
        return self._thread.is_alive()

    @property
    def has_unserved(self) -> bool:
        """Whether commands that change something still wait, or are being served: `state` does not show them yet."""
        return self._n_submitted > self._n_served

    def start(self) -> None:
        """Open the session, in the engine's own thread."""
        self._thread.start()

    def submit(self, command: Command) -> None:
        """Queue a command; returns at once."""
        self._n_submitted += not isinstance(command, View)
        self._queue.put(command)

    def stop(self) -> None:
        """Ask the thread to end after the step it is in."""
        self._stop.set()
        self._queue.put(None)

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the thread to end; returns whether it did."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # Everything below runs in the engine's thread.

    def _run_guarded(self) -> None:
        """Call `_run`. An error that nobody caught ends the thread, and the screen says so."""
        try:
            self._run()
        except BaseException as error:
            log.exception("the engine stopped")
            self._publish(wake=True, phase="failed", error=f"{describe_error(error)} (details: {self._log_hint})")

    def _publish(self, *, wake: bool, **changes: Any) -> None:
        """Replace fields of the state; `wake` asks the screen to draw it now rather than at its next tick."""
        self._state = replace(self._state, **changes)
        if wake and not self._stop.is_set():
            self._post(StateChanged())

    def _notice(self, text: str, severity: Severity = "information") -> None:
        if not self._stop.is_set():
            self._post(Notice(text, severity))

    def _guard(self, action: Callable[[], None]) -> None:
        """Run `action`. An error in it becomes a message, and the engine goes on."""
        try:
            action()
        except UserError as error:
            self._notice(str(error), "error")
            self._publish(wake=True)
        except Exception as error:
            log.exception("the engine failed")
            self._notice(f"{describe_error(error)}\nDetails in {self._log_hint}", "error")
            self._publish(wake=True)

    def _waiting(self) -> list[Command]:
        """All waiting commands. Blocks only while there is nothing else to do."""
        patience = self._patience()
        batch: list[Command] = []
        try:
            first = self._queue.get(block=patience != 0, timeout=patience)
            while first is not None:
                batch.append(first)
                first = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _drop_waiting(self) -> None:
        """Forget all commands that wait, which are about something that is no longer open."""
        with contextlib.suppress(queue.Empty):
            while True:
                command = self._queue.get_nowait()
                self._n_served += command is not None and not isinstance(command, View)
