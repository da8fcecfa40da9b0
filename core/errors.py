"""The exceptions that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use or bad input: one line that names the file, field or flag and says what would fix it.

    The command line prints it after ``error:`` and exits with 2; the explorer shows it as a message and goes on.
    """


class OutOfMemory(UserError):
    """There is no memory now for what was asked; it may work later, or on another device."""


class CheckpointError(UserError):
    """Stored work that cannot be continued: its files have changed, or this version cannot read its state.

    What is stored stays where it is: whoever has those files, or that version, can continue it.
    """


class NoResult(UserError):
    """The work was done as asked and has no result, such as a search whose numbers ceased to be finite. Exit code 1."""


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type if it has none.

    A line that ends in a colon is followed by the next: what it announces is the news. A missing key is called unknown.
    """
    if isinstance(error, KeyError):
        return f"{error} is unknown"
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    told = lines[:1]
    while told[-1].endswith(":") and len(told) < len(lines):
        told.append(lines[len(told)])
    return " ".join(told)
