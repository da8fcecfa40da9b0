"""What is wrong with a prompt of a file for one model names the file's line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models import make_tokenizer
from tiny.models_with_saes import TinyModel
from tiny.sessions import request

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.open_problem import open_problem
from circuit_tui.core.tasks.positions import align
from circuit_tui.core.tasks.prompts_file import load_prompts
from circuit_tui.core.tasks.task import Pair
from circuit_tui.core.tasks.tokens import tokenize

PAIR = {"clean": "the cat", "corrupt": "the dog", "answer": " runs", "wrong": " run", "split": "train"}
OTHER = PAIR | {"corrupt": "the cow", "split": "test"}


def written(path: Path, **fields: Any) -> Path:
    """A file of four lines: good train and test pairs, a blank line, and a pair changed by `fields`."""
    rows = [PAIR, OTHER, None, PAIR | {"corrupt": "the hen", "split": "test"} | fields]
    path.write_text("".join(json.dumps(row) + "\n" if row else "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"clean": "the cat zzz"}, "the prompt 'the cat zzz' has words that are not in the model's vocabulary: zzz"),
        ({"corrupt": "the zzz"}, "the prompt 'the zzz' has words"),
        ({"answer": " zzz"}, "field 'answer' ' zzz' is not in the model's vocabulary"),
        ({"answer_id": 999, "wrong_id": 1}, "field 'answer_id' 999 is out of range"),
        ({"answer": " runs", "wrong": "  runs"}, "are the same tokens after 'the cat'"),
        ({"answer": " runs", "wrong": " runs often"}, "one is the beginning of the other"),
        ({"answer": " "}, "field 'answer' ' ' after 'the cat' has no tokens"),
        ({"clean": " "}, "the prompt ' ' has no tokens"),
    ],
)
def test_a_prompt_that_cannot_be_tokenized(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    path = written(tmp_path / "p.jsonl", **fields)
    with pytest.raises(UserError) as error:
        tokenize(load_prompts(path), make_tokenizer(), torch.device("cpu"))
    assert str(error.value).startswith(f"{path}:4: ")
    assert says in str(error.value)


def test_a_prompt_of_another_length_and_a_role_of_no_train_prompt(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", clean="the big cat")
    sets = tokenize(load_prompts(path), make_tokenizer(), torch.device("cpu"))
    with pytest.raises(UserError, match=r"--positions each: .*p\.jsonl:4: clean 'the big cat' and its corrupt"):
        align("each", sets, "p")
    rows = [PAIR | {"roles": ["det", "noun"]}, OTHER | {"roles": ["det", "verb"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = tokenize(load_prompts(path), make_tokenizer(), torch.device("cpu"))
    with pytest.raises(UserError, match=r"^\S+p\.jsonl:2: the role 'verb' of a test prompt occurs in no train prompt"):
        align("each", sets, "p")


def test_a_prompt_longer_than_the_model_reads(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", corrupt="the dog " * 20)
    with pytest.raises(UserError, match=r"^\S+p\.jsonl:4: the corrupt test prompt 'the dog .* has 41 tokens, but the"):
        open_problem(request(tiny_model("gpt2"), path), lambda stage: None)


def test_a_prompt_that_resampling_finds_nothing_for(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", clean="the big cat", corrupt="the big dog")
    with pytest.raises(UserError, match=r"--ablation resample: \S+p\.jsonl:4: no corrupt train prompt has the 3"):
        open_problem(request(tiny_model("gpt2"), path, positions="shared", ablation="resample"), lambda stage: None)


def test_the_line_makes_no_other_pair() -> None:
    fields = ("the cat", "the dog", "runs", "run")
    assert Pair(*fields, source="a:1") == Pair(*fields, source="b:2")
    assert Pair(*fields).place("ioi") == "task ioi"
