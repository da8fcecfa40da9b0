"""The exceptions that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use or bad input: one line that names the file, field or flag and says what would fix it.

    The command line prints it after ``error:`` and exits with 2; the explorer shows it as a message and goes on.
    """


class OutOfMemory(UserError):
    """There is no memory now for what was asked; it may work later, or on another device."""


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
