"""Sizes of files as text."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Returns a number of bytes as text, such as ``302 MB`` or ``5.2 GB``; in decimal units, as the Hub shows them."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} B"
