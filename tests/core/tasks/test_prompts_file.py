"""Prompts files: how they are read and split; bad ones are refused with file, line and field."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.prompts_file import load_prompts

ROW = {"clean": "The dogs near the tree", "corrupt": "The dog near the tree", "answer": " bark", "wrong": " barks"}


def rows(n: int) -> list[dict[str, Any]]:
    return [ROW | {"clean": f"{i} dogs", "corrupt": f"{i} dog"} for i in range(n)]


def put(folder: Path, lines: list[dict[str, Any]] | str | bytes, name: str = "barking.jsonl") -> Path:
    path = folder / name
    if isinstance(lines, list):
        lines = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return path


def refused(path: Path) -> str:
    """The line of the error, after the file's name."""
    with pytest.raises(UserError) as info:
        load_prompts(path)
    line = str(info.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line.removeprefix(str(path))


def test_all_fields_are_read(tmp_path: Path) -> None:
    roles = ["the", "subject", "near", "the", "noun"]
    full = ROW | {"split": "test", "roles": roles, "answer_id": 3, "wrong_id": 0, "n_tokens": 7, "note": None}
    bare = ROW | {"clean": "Two dogs", "corrupt": "Two dog", "split": "train"}
    several = bare | {"answer": " bark loudly", "answer_id": [3, 4], "wrong_id": [5]}
    task = load_prompts(put(tmp_path, [full, bare, several]))
    assert task.name == "barking"
    assert task.pairs[0].roles == tuple(roles)
    assert (task.pairs[0].answer_id, task.pairs[0].wrong_id) == (3, 0)
    assert (task.pairs[1].roles, task.pairs[1].answer_id) == ((), None)
    assert (task.pairs[2].answer_id, task.pairs[2].wrong_id) == ((3, 4), (5,))
    assert [pair.split for pair in task.pairs] == ["test", "train", "train"]
    assert task.pairs[1].answer == " bark"


def test_a_third_is_held_out(tmp_path: Path) -> None:
    task = load_prompts(put(tmp_path, rows(300)))
    assert (len(task.split("train")), len(task.split("test"))) == (200, 100)
    assert [pair.clean for pair in task.pairs] == [f"{i} dogs" for i in range(300)], "file order is kept"


def test_the_split_is_pinned(tmp_path: Path) -> None:
    """A change of this rule would silently change every circuit found on a user's own prompts."""
    task = load_prompts(put(tmp_path, rows(9)))
    assert [pair.clean[0] for pair in task.split("test")] == ["2", "6", "8"]


@given(n=st.integers(2, 40), seed=st.integers(0, 99), doubled=st.integers(0, 10))
def test_split_depends_on_content_alone(
    n: int, seed: int, doubled: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = rows(n)
    lines += [line | {"clean": line["corrupt"], "corrupt": line["clean"]} for line in lines[:doubled]]
    sides = {}
    for _ in range(2):
        for pair in load_prompts(put(tmp_path_factory.getbasetemp(), lines)).pairs:
            sides.setdefault(tuple(sorted([pair.clean, pair.corrupt])), set()).add(pair.split)
        random.Random(seed).shuffle(lines)
    assert all(len(side) == 1 for side in sides.values())
    n_train = sum("train" in side for side in sides.values())
    assert 0 < n_train < n
    assert abs(n_train - 2 * n / 3) <= 1


def test_separators_inside_strings_and_blank_lines_are_no_trouble(tmp_path: Path) -> None:
    strange = ROW | {"clean": "two\u2028dogs\x85", "corrupt": "a\u2028dog"}
    text = "\ufeff" + json.dumps(strange, ensure_ascii=False) + "\r\n\n  \n" + json.dumps(ROW)
    assert load_prompts(put(tmp_path, text)).pairs[0].clean == "two\u2028dogs\x85"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ": the file is empty"),
        ("\n \n", ": the file is empty"),
        ("hello", ":1: not JSON"),
        (b"\n\xff\xfe", ":2: not UTF-8"),
        (json.dumps(ROW) + "\n[1]\n", ":2: not an object"),
        (json.dumps(ROW) + "\n" + json.dumps(ROW)[:-9], ":2: the line ends too early"),
        (json.dumps([ROW], indent=1), ":1: the line ends too early; it was cut off, or it is not JSON lines"),
        (json.dumps(ROW)[:30], ":1: the line ends too early"),
        ("[" * 100_000, ":1: not JSON"),
    ],
)
def test_what_is_no_prompts_file_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert refused(put(tmp_path, content)).startswith(says)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.jsonl") == ": no such file"
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("field", ["clean", "corrupt", "answer", "wrong"])
def test_a_missing_or_empty_field_is_named(tmp_path: Path, field: str) -> None:
    bare = {key: value for key, value in ROW.items() if key != field}
    assert refused(put(tmp_path, [ROW, bare])) == f":2: {field} is missing"
    assert refused(put(tmp_path, [ROW, ROW | {field: ""}])) == f":2: {field} is empty"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clean": 5}, "clean: should be a valid string"),
        ({"answer": None}, "answer: should be a valid string"),
        ({"clean": "\ud800 dogs"}, "clean: should be a valid string"),
        ({"split": "dev"}, "split: should be 'train', 'test' or 'unseen'"),
        ({"roles": "subject"}, "roles: should be a valid list"),
        ({"roles": ["a", 2]}, "roles[1]: should be a valid string"),
        ({"roles": ["a", "b"]}, "roles: 2 names for the 5 words of clean"),
        ({"roles": ["a"] * 5, "corrupt": "A dog"}, "roles: 5 names for the 2 words of corrupt"),
        ({"answer_id": "7"}, "answer_id: should be the number of a token, or a list of such numbers"),
        ({"answer_id": -1}, "answer_id: should be the number of a token"),
        ({"answer_id": []}, "answer_id: should be the number of a token"),
        ({"wrong_id": [3, -1]}, "wrong_id: should be the number of a token"),
        ({"answer_id": 7}, "wrong_id is missing; give both or none"),
        ({"wrong_id": 7}, "answer_id is missing; give both or none"),
        ({"wrong_answer": " barks"}, "wrong_answer: no such field; there are clean, corrupt, answer, wrong, split,"),
        ({"answer_ids": [3]}, "answer_ids: no such field"),
        ({"role": ["a"] * 5}, "role: no such field"),
        ({"Split": "train"}, "Split: no such field"),
        ({"corrupt": ROW["clean"]}, "clean and corrupt are the same text"),
        ({"wrong": " bark"}, "answer and wrong are the same"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    assert refused(put(tmp_path, [*rows(2), ROW | change])).startswith(f":3: {says}")


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (["train", "train", "unseen"], ": split: no line is in test"),
        (["test", "test", "unseen"], ": split: no line is in train"),
        (["train", "test", None], ":3: split is missing"),
        ([None, "train", "test"], ":1: split is missing"),
    ],
)
def test_splits_must_make_sense(tmp_path: Path, splits: list[str | None], says: str) -> None:
    lines = [row | {"split": split} for row, split in zip(rows(3), splits, strict=True)]
    assert refused(put(tmp_path, lines)).startswith(says)


def test_one_pair_alone_cannot_be_split(tmp_path: Path) -> None:
    assert refused(put(tmp_path, [ROW, ROW, ROW])).startswith(": all 3 lines are one pair")


def test_a_pair_in_train_and_test_is_refused(tmp_path: Path) -> None:
    mirrored = ROW | {"clean": ROW["corrupt"], "corrupt": ROW["clean"], "split": "test"}
    lines = [ROW | {"split": "train"}, rows(1)[0] | {"split": "test"}, mirrored]
    assert refused(put(tmp_path, lines)).startswith(":3: split is test, but the same pair is in train at line 1")


def test_the_real_files_are_read(stories: Path) -> None:
    for path in sorted((stories / "tasks").glob("*.jsonl")):
        task = load_prompts(path)
        n = len(task.pairs)
        assert n > 100
        assert abs(len(task.split("train")) / n - 2 / 3) < 0.05
        assert all(pair.answer_id is not None for pair in task.pairs)
