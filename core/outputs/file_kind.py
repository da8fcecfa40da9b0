"""Recognises by its content a file that this program wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

CREATOR: Final = "circuit-tui"
"""What the metadata of a picture name as its maker."""
APPLICATION: Final = 0x43545549
"""``PRAGMA application_id`` of a results file: the letters CTUI."""
RESULTS_FILE: Final = "results file"
COMPARISON: Final = "comparison"
CIRCUIT_FILE: Final = "circuit file"
TABLE_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "latents": (
        "site", "hook", "latent", "positions", "kept", "label", "clean", "corrupt", "diff", "max", "freq", "effect",
        "push", "promotes", "suppresses", "marked", "note", "groups",
    ),
    "frontier": ("size", "train", "test", "test_low", "test_high"),
    "latent": ("part", "name", "value", "corrupt"),
    "circuits": (
        "name", "method", "target", "seed", "size", "train", "test", "test_low", "test_high", "kl", "accuracy", "model",
        "task", "created",
    ),
}  # fmt: skip
"""The columns of each kind of table. A CSV file with one of these headers is ours: it has no other place for a name."""
_TABLE_STARTS = {
    **{f"{','.join(columns)}\n".encode(): "table" for columns in TABLE_COLUMNS.values()},
    f"<!-- {CREATOR}: ".encode(): "table",
}
_JSON_KINDS = {"circuit-tui/circuit/": CIRCUIT_FILE, "circuit-tui/comparison/": COMPARISON}
_SQLITE, _APPLICATION_AT = b"SQLite format 3\0", 68
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": b"tEXtSoftware\0" + CREATOR.encode(),
    b"%PDF-": f"/Creator ({CREATOR})".encode(),
    b"<?xml": f"<dc:title>{CREATOR}</dc:title>".encode(),
}
"""How a picture begins, and what it contains if `runs.picture` drew it."""


def file_kind(path: Path) -> str | None:
    """Returns which kind of file of this program `path` is, such as "circuit file"; None if it is none.

    A file that cannot be read is none.
    """
    try:
        content = path.expanduser().read_bytes()
    except OSError:
        return None
    if content.startswith(_SQLITE):
        application = int.from_bytes(content[_APPLICATION_AT : _APPLICATION_AT + 4], "big")
        return RESULTS_FILE if application == APPLICATION else None
    for start, mark in _PICTURES.items():
        if content.startswith(start):
            return "picture" if mark in content else None
    for start, kind in _TABLE_STARTS.items():
        if content.startswith(start):
            return kind
    from circuit_tui.core.circuits.mask_file import is_mask_file  # pydantic: not before the first frame

    return "mask file" if is_mask_file(path) else _json_kind(content)


def _json_kind(content: bytes) -> str | None:
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, str):
        return None
    return next((kind for start, kind in _JSON_KINDS.items() if schema.startswith(start)), None)
