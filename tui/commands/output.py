"""The output of commands on stdout: tables for people, or one JSON object for programs.

Libraries print all kinds of things while a model loads. `quiet` keeps them off stdout, so that ``--json`` can be piped.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import override

from circuit_tui.core.runtime.user_log import user_log

PIPE_WIDTH = 220
"""Columns of a table that is not on a terminal: wide enough that nothing wraps."""
LONGEST_WHOLE_WORD = 16
"""Letters; a longer word may be broken where a table is short of room."""


def replace_unencodable() -> None:
    """From now on stdout writes a question mark for a character that its encoding does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; characters beyond ASCII are escaped where the encoding might not have them."""
    escape = not (sys.stdout.encoding or "").lower().startswith("utf")
    _write(json.dumps(data, indent=1, ensure_ascii=escape, allow_nan=False) + "\n")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print a table on stdout. The columns named in `right` are aligned to the right. Cells are printed without markup.

    A cell that is a key of `styles` is shown in that style. Without `columns` there is no header. If stdout is no
    terminal, no line ends in blanks.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=bool(columns))
    for index, column in enumerate(columns or [""] * len(rows[0])):
        words = [word for text in (column, *(row[index] for row in rows)) for word in text.split()]
        least = max((len(word) for word in words if len(word) <= LONGEST_WHOLE_WORD), default=1)
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    console = _console()
    with console.capture() as captured:
        console.print(table)
    text = captured.get()
    _write(text if console.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def print_line(text: str = "", style: str = "") -> None:
    """Print one line on stdout, without markup."""
    console = _console()
    with console.capture() as captured:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
    _write(captured.get())


def flush() -> None:
    """Flush stdout. Nothing more is written once the reader of its pipe has gone away; that is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_stdout()


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash for None. A number that rounds to zero has no sign."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


@contextlib.contextmanager
def quiet(*, debug: bool) -> Iterator[None]:
    """Keep libraries off stdout, and off stderr too unless `debug`; messages for the user go to stderr."""
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if not sys.stderr.isatty():
            os.environ.setdefault("TQDM_DISABLE", "1")
    handler = _StderrHandler()
    user_log.addHandler(handler)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            if not debug:
                warnings.simplefilter("ignore")
            yield
    finally:
        user_log.removeHandler(handler)


class _StderrHandler(logging.Handler):
    """Writes log records for the user on stderr, one line each."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"warning: {record.getMessage()}\n")


def width() -> int:
    """The number of columns that a table may take."""
    return int(_console().width)


def _write(text: str) -> None:
    """Write on stdout, past rich, which would end the program where the reader of a pipe has gone away."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        give_up_stdout()


def give_up_stdout() -> None:
    """Let what is written from now on, and the interpreter's last flush, go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
