"""What the explorer remembers of its screen from one start to the next: columns and splits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from circuit_tui.core.atomic_file import read_text, write_text
from circuit_tui.core.errors import UserError

DEFAULT_SPLIT = (50, 58)


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """The choices of the user.

    Attributes:
        columns: whether a column of the circuit table is shown, for each that the user has chosen or hidden.
        split: percent of the height that the upper panes have, and percent of their width that the circuit has.
    """

    columns: Mapping[str, bool] = field(default_factory=dict)
    split: tuple[int, int] = DEFAULT_SPLIT


def settings_path() -> Path:
    """The file of the user's choices, in the folder where programs of this system keep theirs."""
    import platformdirs

    return Path(platformdirs.user_config_dir("circuit-tui", appauthor=False)) / "explorer.json"


def load_settings(path: Path) -> ScreenSettings:
    """Read the user's choices from `path`; the defaults if there is no such file.

    Raises:
        UserError: the file cannot be read, or does not hold such choices.
    """
    if not path.exists():
        return ScreenSettings()
    try:
        data = json.loads(read_text(path, "file of the explorer's settings"))
        columns, split = data.get("columns", {}), data.get("split", list(DEFAULT_SPLIT))
        if not all(isinstance(shown, bool) for shown in columns.values()):
            raise ValueError("columns: each is true or false")
        height, width = split
        if not all(type(share) is int and 0 < share < 100 for share in (height, width)):
            raise ValueError("split: two percentages")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not the explorer's settings: {error}") from error
    return ScreenSettings(columns, (height, width))


def save_settings(settings: ScreenSettings, path: Path) -> None:
    """Write the user's choices to `path`.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from error
    write_text(json.dumps({"columns": dict(settings.columns), "split": settings.split}, indent=1) + "\n", path)
