"""Prompts files of other tools: every field where it belongs, and one line for what cannot be taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.convert_prompts import FORMATS, convert_prompts

PAIRS = [(f"clean {n}", f"corrupt {n}") for n in range(6)]


class Letters:
    """A tokenizer whose token n is a blank and the letter number n."""

    def __len__(self) -> int:
        return 26

    def decode(self, tokens: list[int]) -> str:
        return "".join(f" {chr(97 + token)}" for token in tokens)


def csv_file(folder: Path, columns: str, cells: str = "3,4") -> Path:
    path = folder / "ioi.csv"
    lines = [f'"{clean}, with a comma",{corrupt},{cells}' for clean, corrupt in PAIRS]
    path.write_text("\n".join([f"clean,corrupted,{columns}", *lines]))
    return path


@pytest.mark.parametrize(
    "columns",
    ["correct_idx,incorrect_idx", "clean_answer_idx,corrupted_answer_idx", "country_idx,corrupted_country_idx"],
)
def test_eap_ig(columns: str, tmp_path: Path) -> None:
    found = convert_prompts(csv_file(tmp_path, columns), Letters())
    assert (found.format, found.task.name, found.notes) == ("eap-ig", "ioi", ())
    for pair, (clean, corrupt) in zip(found.task.pairs, PAIRS, strict=True):
        assert (pair.clean, pair.corrupt) == (f"{clean}, with a comma", corrupt)
        assert (pair.answer, pair.wrong, pair.answer_id, pair.wrong_id) == (" d", " e", 3, 4)
    assert [len(found.task.split(split)) for split in ("train", "test")] == [4, 2]


def auto_circuit(folder: Path, **extra: Any) -> Path:
    path = folder / "a.json"
    prompts = [
        {"clean": clean, "corrupt": corrupt, "answers": [" x"], "wrong_answers": [" y"], **extra}
        for clean, corrupt in PAIRS
    ]
    path.write_text(json.dumps({"prompts": prompts}, indent=1))
    return path


def test_auto_circuit(tmp_path: Path) -> None:
    found = convert_prompts(auto_circuit(tmp_path))
    assert (found.format, found.notes) == ("auto-circuit", ())
    assert [(pair.clean, pair.corrupt, pair.answer, pair.wrong) for pair in found.task.pairs] == [
        (*pair, " x", " y") for pair in PAIRS
    ]
    several = convert_prompts(auto_circuit(tmp_path, wrong_answers=[" y", " z"]))
    assert several.task.pairs == found.task.pairs
    assert several.notes == ("Where a prompt has several answers, the first of each kind was taken.",)


def feature_circuits(folder: Path, repeat: int = 1) -> Path:
    path = folder / "f.jsonl"
    keys = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer", "case")
    rows = [json.dumps(dict(zip(keys, (*pair, " is", " are", "sing"), strict=True))) for pair in PAIRS * repeat]
    path.write_text("\n".join(rows) + "\n\n")
    return path


def test_feature_circuits(tmp_path: Path) -> None:
    found = convert_prompts(feature_circuits(tmp_path))
    assert (found.format, found.notes) == ("feature-circuits", ())
    assert [(pair.clean, pair.corrupt, pair.answer, pair.wrong) for pair in found.task.pairs] == [
        (*pair, " is", " are") for pair in PAIRS
    ]
    again = convert_prompts(feature_circuits(tmp_path, repeat=2))
    assert (again.task.pairs, again.notes) == (found.task.pairs, ("6 repeated pairs were left out.",))


def test_one_line_of_feature_circuits_is_told_from_json(tmp_path: Path) -> None:
    path = feature_circuits(tmp_path)
    path.write_text("\n".join(path.read_text().split("\n")[:1]))
    with pytest.raises(UserError, match="train and test need a pair each"):
        convert_prompts(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "clean,corrupted,plural\na,b,1\n",
            "has no column with a wrong answer's token (it has clean, corrupted, plural)",
        ),
        (
            "clean,corrupted,correct_idx,incorrect_idx\na,b,3,99\n",
            ":2: incorrect_idx: '99' is no token id of this model",
        ),
        ("clean,corrupted,correct_idx,incorrect_idx\na,b,3,\n", ":2: incorrect_idx: '' is no token id"),
        (
            '{"prompts": [{"clean": "a", "corrupt": "b", "answers": []}]}',
            "prompt 1: answers: should be a list of texts",
        ),
        ('{"prompts": 3}', "not JSON with a list of prompts"),
        ('{"clean_prefix": "a", "patch_prefix": "b", "clean_answer": " c"}', ":1: patch_answer is missing"),
        ('{"clean_prefix": "a", "patch_prefix": "a", "clean_answer": "c", "patch_answer": "d"}', "are the same text"),
        (
            '{"clean_prefix": "a", "patch_prefix": "b", "clean_answer": "c", "patch_answer": "c"}',
            "both answers are 'c'",
        ),
        ('{"clean": "a", "corrupt": "b", "answer": " c", "wrong": " d"}', "is a prompts file of this program already"),
        ("once upon a time\n", "has none of the formats eap-ig, auto-circuit, feature-circuits"),
        ("[1, 2]", "has none of the formats"),
    ],
)
def test_what_cannot_be_taken_over(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        convert_prompts(path, Letters())
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_that_is_named_but_is_not_the_files(format: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("once upon a time\n")
    with pytest.raises(UserError):
        convert_prompts(path, Letters(), format)


def test_token_ids_need_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="token ids; name the model that they belong to with --model"):
        convert_prompts(csv_file(tmp_path, "correct_idx,incorrect_idx"))
