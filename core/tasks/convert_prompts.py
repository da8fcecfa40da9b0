"""Reads the prompts files of other tools into a task.

- ``eap-ig``: the CSV files of EAP-IG (Hanna et al. 2024), {clean, corrupted, …}, with the ids of two answer tokens.
- ``auto-circuit``: the JSON files of auto-circuit (Miller et al. 2024), {"prompts": [{clean, corrupt, answers,
  wrong_answers}]}.
- ``feature-circuits``: the JSON lines of feature-circuits (Marks et al. 2024), {clean_prefix, patch_prefix,
  clean_answer, patch_answer}.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit_tui.core.atomic_file import read_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.prompts_file import splits_by_text
from circuit_tui.core.tasks.task import Pair, Task

FORMATS = ("eap-ig", "auto-circuit", "feature-circuits")
_TOKEN_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("country_idx", "corrupted_country_idx"),
)
"""The columns of an EAP-IG file with the right and the wrong answer's token, by task."""


@dataclass(frozen=True, slots=True)
class ConvertedTask:
    """A task out of a file of another tool: the `format` of the file, and sentences about what was not taken over."""

    task: Task
    format: str
    notes: tuple[str, ...]


def convert_prompts(path: Path, tokenizer: Any = None, format: str | None = None) -> ConvertedTask:
    """Returns the task in the file `path`; `format` is one of `FORMATS`, told by the content if None.

    Pairs are split into train and test by a hash of their texts. `tokenizer` is that of the model whose token ids a
    file has.

    Raises:
        UserError: the file cannot be read, has none of these formats or lacks a field, or needs a tokenizer.
    """
    text = read_text(path, "prompts file")
    kind = format or _format_of(text, path)
    notes: list[str] = []
    read = {"eap-ig": _eap_ig, "auto-circuit": _auto_circuit, "feature-circuits": _feature_circuits}[kind]
    rows: list[Pair] = []
    seen: set[tuple[str, str]] = set()
    repeated = 0
    for pair in read(text, path, tokenizer, notes.append):
        if (pair.clean, pair.corrupt) in seen:
            repeated += 1
            continue
        seen.add((pair.clean, pair.corrupt))
        rows.append(pair)
    if repeated:
        notes.append(f"{repeated} repeated pairs were left out.")
    pairs = tuple(splits_by_text(rows, path))
    return ConvertedTask(Task(path.stem, f"prompts of {path.name}", pairs), kind, tuple(dict.fromkeys(notes)))


def _format_of(text: str, path: Path) -> str:
    try:
        first = json.loads(text)
    except ValueError:
        try:
            first = json.loads(text.split("\n", 1)[0])
        except ValueError:
            first = None
    if isinstance(first, dict):
        if "prompts" in first:
            return "auto-circuit"
        if "clean_prefix" in first:
            return "feature-circuits"
        if {"clean", "corrupt", "answer", "wrong"} <= set(first):
            raise UserError(f"{path}: is a prompts file of this program already")
    elif {"clean", "corrupted"} <= set(next(csv.reader(io.StringIO(text)), [])):
        return "eap-ig"
    raise UserError(f"{path}: has none of the formats {', '.join(FORMATS)}")


def _eap_ig(text: str, path: Path, tokenizer: Any, note: Callable[[str], None]) -> Iterator[Pair]:
    rows = csv.DictReader(io.StringIO(text))
    columns = tuple(rows.fieldnames or ())
    for needed in ("clean", "corrupted"):
        if needed not in columns:
            raise UserError(f"{path}: has no column {needed}; it has {', '.join(columns)}")
    found = next((pair for pair in _TOKEN_COLUMNS if set(pair) <= set(columns)), None)
    if found is None:
        raise UserError(
            f"{path}: has no column with a wrong answer's token (it has {', '.join(columns)}): its task compares sets "
            "of answers, and a prompts file has one right and one wrong answer"
        )
    if tokenizer is None:
        raise UserError(f"{path}: its answers are token ids; name the model that they belong to with --model")
    for row in rows:
        where = f"{path}:{rows.line_num}"
        right, wrong = (_token(row, column, tokenizer, where) for column in found)
        texts = [tokenizer.decode([token]) for token in (right, wrong)]
        yield replace(_pair(where, row["clean"], row["corrupted"], *texts), answer_id=right, wrong_id=wrong)


def _token(row: Mapping[str, str | None], column: str, tokenizer: Any, where: str) -> int:
    value = row[column] or ""
    if not value.strip().isdecimal() or int(value) >= len(tokenizer):
        raise UserError(f"{where}: {column}: {value!r} is no token id of this model, which has {len(tokenizer)} tokens")
    return int(value)


def _auto_circuit(text: str, path: Path, _: Any, note: Callable[[str], None]) -> Iterator[Pair]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    prompts = data.get("prompts") if isinstance(data, dict) else None
    if not isinstance(prompts, list):
        raise UserError(f"{path}: not JSON with a list of prompts")
    if "seq_labels" in data or "word_idxs" in data:
        note("seq_labels and word_idxs name tokens, not words: positions were not taken over.")
    for number, row in enumerate(prompts, 1):
        where = f"{path}: prompt {number}"
        sides = [_answers(row, key, where) for key in ("answers", "wrong_answers")]
        if any(len(answers) > 1 for answers in sides):
            note("Where a prompt has several answers, the first of each kind was taken.")
        yield _pair(where, _field(row, "clean", where), _field(row, "corrupt", where), sides[0][0], sides[1][0])


def _answers(row: Any, key: str, where: str) -> list[str]:
    found = row.get(key) if isinstance(row, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(answer, str) and answer for answer in found):
        raise UserError(f"{where}: {key}: should be a list of texts")
    return found


def _feature_circuits(text: str, path: Path, _: Any, note: Callable[[str], None]) -> Iterator[Pair]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON: {error}") from error
        texts = [_field(row, key, where) for key in ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer")]
        yield _pair(where, *texts)


def _field(row: Any, key: str, where: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: {key} is missing, or no text")
    return value


def _pair(where: str, clean: str, corrupt: str, answer: str, wrong: str) -> Pair:
    if clean == corrupt:
        raise UserError(f"{where}: the clean and the corrupt prompt are the same text")
    if answer == wrong:
        raise UserError(f"{where}: both answers are {answer!r}")
    return Pair(clean, corrupt, answer, wrong)
