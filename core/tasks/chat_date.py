"""The date that chat templates are given: the same on every day, so that prompts do not change overnight.

transformers renders templates with a function ``strftime_now`` of the day's date, and takes no other in its place
(seen in transformers 5.23: a callable that is passed to ``apply_chat_template`` becomes text).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

CHAT_DATE = "2024-07-26"


class _FixedDate(datetime.datetime):
    """A datetime whose present is `CHAT_DATE`."""

    @classmethod
    def now(cls, tz: Any = None) -> Self:
        return cls.fromisoformat(CHAT_DATE)


@contextmanager
def fixed_date() -> Iterator[None]:
    """Within this block, templates that transformers renders are given `CHAT_DATE`. For one thread at a time."""
    from transformers.utils import chat_template_utils

    before = chat_template_utils.datetime
    chat_template_utils.datetime = _FixedDate
    try:
        yield
    finally:
        chat_template_utils.datetime = before
