"""Where errors become one line on stderr and an exit code.

0 done · 1 the answer is no (a check failed, a target was not reached) · 2 wrong use or bad input · 70 a mistake of this
program, with the traceback in the log file · 130 interrupted · 128 + n ended by signal n · 141 the reader of a pipe
went away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.runtime.out_of_memory import describe_error, is_out_of_memory

DONE, NO, BAD_INPUT, OWN_MISTAKE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141


class Terminated(Exception):
    """A signal asked the process to end; `kept` tells whether what it was doing can go on in another one."""

    def __init__(self, number: int, *, kept: bool) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}" + ("; `circuit-tui resume` goes on" if kept else ""))


def guarded(run: Callable[[], int], *, debug: bool) -> int:
    """Runs a command and returns its exit code; `debug` adds tracebacks to the lines on stderr."""
    try:
        code = run()
        sys.stdout.flush()
    except UserError as error:
        return _tell(str(error), BAD_INPUT, error if debug else None)
    except KeyboardInterrupt as error:
        return _tell("interrupted", INTERRUPTED, error if debug else None)
    except Terminated as error:
        return _tell(f"{error} (log: {log_path()})", 128 + error.number, error if debug else None)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit: give it somewhere to flush to.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 the last line of defence: whatever it is, the user gets one line
        if is_out_of_memory(error):
            note(f"out of memory: {error}")
            return _tell(
                f"{describe_error(error)}, or a smaller --batch (log: {log_path()})",
                BAD_INPUT,
                error if debug else None,
            )
        if not isinstance(error, OSError) or error.filename is None:
            return _tell(_own_mistake(error), OWN_MISTAKE, error if debug else None)
        return _tell(f"{error.filename}: {error.strerror or error}", BAD_INPUT, error if debug else None)
    return code


def log_path() -> Path:
    """The log file; its folder exists. In the temporary folder where the user's own cannot be written."""
    import platformdirs

    for folder in (Path(platformdirs.user_log_dir("circuit-tui", appauthor=False)), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder / "circuit-tui.log"
    return Path("circuit-tui.log")


def note(text: str) -> None:
    """Adds one line to the log file."""
    with contextlib.suppress(OSError), log_path().open("a", encoding="utf-8") as log:
        log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} [{os.getpid()}] {text}\n")


def _own_mistake(error: Exception) -> str:
    path = log_path()
    what = f"{type(error).__name__}: {error}"
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(sys.argv)}\n")
            log.writelines(traceback.format_exception(error))
    except OSError:
        return f"unexpected {what}; run again with --debug to see where"
    return f"unexpected {what}; details: {path}"


def _tell(text: str, code: int, shown: BaseException | None) -> int:
    if shown is not None:
        traceback.print_exception(shown)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        sys.stderr.flush()
    return code
