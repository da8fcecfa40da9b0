"""The boundary of the program, where errors become one line on stderr and an exit code.

0 done · 1 the answer is no (a check failed, a target was not reached) · 2 wrong use or bad input · 70 an error in this
program, with the traceback in the log file · 130 interrupted · 128 + n ended by signal n · 141 the reader of a pipe
went away before there was an answer.
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

from circuit_tui.core.errors import NoResult, UserError
from circuit_tui.core.runtime.out_of_memory import describe_error, is_out_of_memory
from circuit_tui.tui.commands import output

DONE, NO, BAD_INPUT, OWN_ERROR, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141


class Terminated(Exception):
    """A signal asked the process to end; `kept` says whether another process can go on with the work."""

    def __init__(self, number: int, *, kept: bool) -> None:
        self.number = number
        super().__init__(
            f"ended by {signal.Signals(number).name}" + ("; `circuit-tui resume` continues it" if kept else "")
        )


def guarded(run: Callable[[], int], *, debug: bool) -> int:
    """Run a command and return its exit code; `debug` adds tracebacks to the lines on stderr."""
    try:
        output.replace_unencodable()
        code = run()
        output.flush()
    except NoResult as error:
        return _print_error(str(error), NO, error if debug else None)
    except UserError as error:
        return _print_error(str(error), BAD_INPUT, error if debug else None)
    except KeyboardInterrupt as error:
        return _print_error("interrupted", INTERRUPTED, error if debug else None)
    except Terminated as error:
        return _print_error(f"{error} (log: {log_path()})", 128 + error.number, error if debug else None)
    except BrokenPipeError:
        output.give_up_stdout()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 the last line of defence: the user gets one line in any case
        if is_out_of_memory(error):
            log_line(f"out of memory: {error}")
            return _print_error(
                f"{describe_error(error)}, or a smaller --batch (log: {log_path()})",
                BAD_INPUT,
                error if debug else None,
            )
        if not isinstance(error, OSError) or error.filename is None:
            return _print_error(_own_error(error), OWN_ERROR, error if debug else None)
        return _print_error(f"{error.filename}: {error.strerror or error}", BAD_INPUT, error if debug else None)
    return code


def log_path() -> Path:
    """The log file. Its folder exists; it is the temporary folder if the user's own cannot be written."""
    import platformdirs

    for folder in (Path(platformdirs.user_log_dir("circuit-tui", appauthor=False)), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder / "circuit-tui.log"
    return Path("circuit-tui.log")


def log_line(text: str) -> None:
    """Append one line to the log file."""
    with contextlib.suppress(OSError), log_path().open("a", encoding="utf-8") as log:
        log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} [{os.getpid()}] {text}\n")


def _own_error(error: Exception) -> str:
    path = log_path()
    what = f"{type(error).__name__}: {error}"
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(sys.argv)}\n")
            log.writelines(traceback.format_exception(error))
    except OSError:
        return f"unexpected {what}; run again with --debug to see where"
    return f"unexpected {what}; details: {path}"


def _print_error(text: str, code: int, shown: BaseException | None) -> int:
    if shown is not None:
        traceback.print_exception(shown)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        sys.stderr.flush()
    return code
