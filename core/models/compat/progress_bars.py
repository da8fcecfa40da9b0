"""Hides transformers' progress bars, which draw over the screen of whoever loads a model.

transformers writes a bar to stderr while it loads weights, whether or not stderr is a terminal, and has no parameter
to load without: the switch is one for the whole process. Seen in transformers 5.23.0; no upstream issue is known to us.
"""

from __future__ import annotations


def hide_progress_bars() -> None:
    """Turns transformers' bars off for the rest of the process; progress is for the caller to show."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
