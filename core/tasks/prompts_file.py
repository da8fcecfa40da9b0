"""Reads and writes prompts files: JSON lines {clean, corrupt, answer, wrong}, each one pair of prompts of a task.

An answer may be several tokens. Optional keys: `split` (``"train"``, ``"test"`` or ``"unseen"``), `roles` (one
position name for each word between spaces, of clean and corrupt alike), `answer_id` and `wrong_id` (the token to read
instead of the text's, or a list of them). Keys of other names are ignored, unless they read like one of these. Either
every row names its split or none does.

Without splits the content decides: pairs are ordered by the SHA-256 of their two texts; the first two thirds are train,
the rest test. The same file gives the same splits on every machine, whatever the order of its lines. Equal pairs, also
with clean and corrupt exchanged, are in the same split: no test prompt has been seen in training.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circuit_tui.core.atomic_file import read_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.task import Pair, Split, Task

TRAIN = 2 / 3
"""The share of train in what is split into train and test."""
_Text = Annotated[str, Field(min_length=1)]
_TokenId = Annotated[int, Field(ge=0)]
_TokenIds = _TokenId | Annotated[list[_TokenId], Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    clean: _Text
    corrupt: _Text
    answer: _Text
    wrong: _Text
    split: Split | None = None
    roles: list[_Text] = []
    answer_id: _TokenIds | None = None
    wrong_id: _TokenIds | None = None


def load_prompts(path: Path) -> Task:
    """The task in a prompts file, named after the file.

    Raises:
        UserError: the file is missing, empty, cut off or not JSON lines; a field is missing, misnamed, of the wrong
            type or makes no sense; a pair is in two splits; train or test is empty. The line names file, line, field.
    """
    rows = [(number, _parse_row(f"{path}:{number}", line)) for number, line in _lines(path)]
    splits = _named_splits(path, rows) if any(row.split for _, row in rows) else _splits_by_hash(path, rows)
    pairs = tuple(_pair(row, split, f"{path}:{number}") for (number, row), split in zip(rows, splits, strict=True))
    return Task(path.stem, f"prompts of {path.name}", pairs)


def write_prompts(task: Task) -> str:
    """Returns the text of a prompts file with the pairs of `task`."""
    rows = []
    for pair in task.pairs:
        row: dict[str, Any] = {key: getattr(pair, key) for key in ("clean", "corrupt", "answer", "wrong")}
        row |= {"roles": list(pair.roles)} if pair.roles else {}
        if pair.answer_id is not None:
            row |= {"answer_id": pair.answer_id, "wrong_id": pair.wrong_id}
        rows.append(json.dumps({**row, "split": pair.split}, ensure_ascii=False))
    return "".join(f"{row}\n" for row in rows)


def _pair(row: _Row, split: Split, source: str) -> Pair:
    right, wrong = (tuple(ids) if isinstance(ids, list) else ids for ids in (row.answer_id, row.wrong_id))
    return Pair(row.clean, row.corrupt, row.answer, row.wrong, split, tuple(row.roles), right, wrong, source)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, numbered from 1."""
    text = read_text(path, "file of JSON lines")
    # Not splitlines(): JSON strings may hold U+2028 and other characters that it takes for line ends.
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _parse_row(where: str, line: str) -> _Row:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        if error.pos >= len(line.rstrip()) or error.msg.startswith("Unterminated string"):
            raise UserError(f"{where}: the line ends too early; it was cut off, or it is not JSON lines") from error
        raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:  # nested beyond reason, or a number of thousands of digits
        raise UserError(f"{where}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: not an object; every line needs clean, corrupt, answer and wrong")
    for name in data:
        if _misnamed(name):
            raise UserError(f"{where}: {name}: no such field; there are {', '.join(_Row.model_fields)}")
    try:
        row = _Row.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {_describe(error)}") from error
    _check_consistency(where, row)
    return row


def _misnamed(name: str) -> bool:
    """Whether `name` is no field but looks like a misspelt one, or like one with a suffix."""
    fields, lower = tuple(_Row.model_fields), name.lower()
    if name in fields:
        return False
    suffixed = any(lower.startswith(f"{field}_") for field in fields)
    return suffixed or bool(difflib.get_close_matches(lower, fields, 1, 0.75))


def _describe(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) + "".join(f"[{key}]" for key in first["loc"][1:] if isinstance(key, int))
    if first["loc"][0] in ("answer_id", "wrong_id"):
        return f"{first['loc'][0]}: should be the number of a token, or a list of such numbers"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "string_too_short":
        return f"{field} is empty"
    return f"{field}: {first['msg'].replace('Input should be', 'should be')}"


def _check_consistency(where: str, row: _Row) -> None:
    if row.clean == row.corrupt:
        raise UserError(f"{where}: clean and corrupt are the same text, so nothing tells them apart")
    if row.answer == row.wrong and row.answer_id == row.wrong_id:
        raise UserError(f"{where}: answer and wrong are the same, {row.answer!r}")
    if (row.answer_id is None) != (row.wrong_id is None):
        raise UserError(
            f"{where}: {'answer_id' if row.answer_id is None else 'wrong_id'} is missing; give both or none"
        )
    for field, text in (("clean", row.clean), ("corrupt", row.corrupt)):
        if row.roles and len(row.roles) != len(text.split()):
            raise UserError(f"{where}: roles: {len(row.roles)} names for the {len(text.split())} words of {field}")


def pair_hash(clean: str, corrupt: str) -> bytes:
    """A hash of a pair's two texts, the same with clean and corrupt exchanged."""
    return hashlib.sha256(json.dumps(sorted([clean, corrupt])).encode()).digest()


def train_hashes(hashes: Iterable[bytes]) -> set[bytes]:
    """The `pair_hash` of every pair for train, two thirds of all `hashes`; repeated ones count once."""
    order = sorted(set(hashes))
    return set(order[: round(len(order) * TRAIN)])


def _named_splits(path: Path, rows: list[tuple[int, _Row]]) -> list[Split]:
    splits: list[Split] = []
    seen: dict[bytes, tuple[int, Split]] = {}
    for number, row in rows:
        if row.split is None:
            raise UserError(f"{path}:{number}: split is missing; other lines name theirs: all must, or none")
        line, split = seen.setdefault(pair_hash(row.clean, row.corrupt), (number, row.split))
        if split != row.split:
            raise UserError(f"{path}:{number}: split is {row.split}, but the same pair is in {split} at line {line}")
        splits.append(row.split)
    for needed in ("train", "test"):
        if needed not in splits:
            raise UserError(f"{path}: split: no line is in {needed}; both train and test need prompts")
    return splits


def _splits_by_hash(path: Path, rows: list[tuple[int, _Row]]) -> list[Split]:
    pairs = [Pair(row.clean, row.corrupt, row.answer, row.wrong) for _, row in rows]
    return [pair.split for pair in splits_by_text(pairs, path)]


def splits_by_text(pairs: Sequence[Pair], path: Path) -> list[Pair]:
    """Returns `pairs`, of the file `path`, in train (two thirds) and test by the SHA-256 of their two texts.

    Raises:
        UserError: all are one pair.
    """
    keys = [pair_hash(pair.clean, pair.corrupt) for pair in pairs]
    if len(set(keys)) < 2:
        raise UserError(f"{path}: all {len(pairs)} lines are one pair; train and test need a pair each at least")
    train = train_hashes(keys)
    return [replace(pair, split="train" if key in train else "test") for pair, key in zip(pairs, keys, strict=True)]
