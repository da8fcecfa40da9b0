"""SHA-256 of the weights in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from circuit_tui.core.hub.download import blob_hash


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weight files of a folder, by name; empty when there are none."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")) or sorted(folder.glob("*.npz"))
    digests = [file_sha256(path) for path in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def file_sha256(path: Path) -> str:
    """SHA-256 of one file; taken from its name where a Hub cache stores it under its hash, else computed."""
    named = blob_hash(path)
    if len(named) == 64:  # the other hashes are git's
        return named
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
