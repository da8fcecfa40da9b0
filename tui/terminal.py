"""The terminal while the explorer runs: Textual gets a handle of its own, so that nothing else writes on the screen."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError


def require_terminal() -> None:
    """Raise a `UserError` unless stdin and one of stdout and stderr are a terminal."""
    if not sys.__stdin__ or not sys.__stdin__.isatty() or not (os.isatty(2) or os.isatty(1)):
        raise UserError(
            "the explorer needs a terminal on stdin and stdout; without one use `circuit-tui find` (over ssh: `ssh -t`)"
        )


class CountedOutput(io.FileIO):
    """A file that is written to; `written` is how many bytes have been."""

    written = 0

    def write(self, data: Any, /) -> int:
        """Write `data`, and count what was taken."""
        taken = super().write(data)
        self.written += taken or 0
        return taken


@contextmanager
def private_terminal(log_path: Path) -> Iterator[CountedOutput]:
    """Give Textual its own handle of the terminal, and send everything else (descriptors 1 and 2) to `log_path`.

    Yields that handle.

    C libraries, progress bars, warnings and child processes write to the descriptors directly. No redirection of
    ``sys.stdout`` stops them, and a single line garbles the screen.
    """
    saved_out, saved_err = os.dup(1), os.dup(2)
    old_out, old_err = sys.__stdout__, sys.__stderr__
    output = CountedOutput(os.dup(2 if os.isatty(2) else 1), "w")
    screen = io.TextIOWrapper(io.BufferedWriter(output), encoding="utf-8", errors="replace", line_buffering=True)
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    # A size in the environment would hide every later change of the real one.
    exported = {name: value for name in ("LINES", "COLUMNS") if (value := os.environ.pop(name, None)) is not None}
    # Textual's driver writes to sys.__stderr__ and asks sys.__stdout__ for the size.
    sys.__stdout__ = sys.__stderr__ = screen  # type: ignore[misc]
    # Ctrl+c is a key until the terminal's settings are restored. Pressed again just then, it would cut the rest short:
    # the mouse and the alternate screen would stay on.
    interrupt = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield output
    finally:
        signal.signal(signal.SIGINT, interrupt)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.__stdout__, sys.__stderr__ = old_out, old_err  # type: ignore[misc]
        os.environ.update(exported)
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        for descriptor in (saved_out, saved_err):
            os.close(descriptor)
        with suppress(OSError):  # the terminal may have gone away
            screen.close()
