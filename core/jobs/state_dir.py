"""The folder for what must outlive a process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def state_dir(name: str) -> Path:
    """Returns the user's folder `name` for what outlives a process, made if need be.

    It lies in the temporary folder where the user's own cannot be written.

    Raises:
        OSError: neither can be written.
    """
    import platformdirs

    folder = Path(platformdirs.user_state_dir("circuit-tui", appauthor=False)) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"circuit-tui-{os.getuid()}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
