"""The exception type a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use or bad input: one line that names the file, field or flag and says what would fix it.

    The command line prints it after ``error:`` and exits with 2; the explorer shows it as a message and goes on.
    """


class OutOfMemory(UserError):
    """What was asked for is right, but there is no memory for it now: the same may do later, or elsewhere."""
