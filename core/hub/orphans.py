"""Files of the cache that a download left behind when it broke off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Orphan:
    """One such file, or one of a download that is still under way; `size` in bytes."""

    path: str
    size: int


def orphans() -> tuple[Orphan, ...]:
    """Returns the half-fetched files of the cache, the largest first.

    A killed process cannot delete the file it was writing, and no other takes it up: the library gives each download a
    file of its own (https://github.com/huggingface/huggingface_hub/pull/4306) and never cleans up.
    """
    from huggingface_hub import constants

    found = []
    for path in Path(constants.HF_HUB_CACHE).glob("*/blobs/*.incomplete"):
        try:
            found.append(Orphan(str(path), path.stat().st_size))
        except FileNotFoundError:  # its download has just ended
            continue
    return tuple(sorted(found, key=lambda orphan: (-orphan.size, orphan.path)))
