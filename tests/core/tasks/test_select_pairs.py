"""The pairs of a built-in task that remain where some of its words are not single tokens of the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny.models_with_saes import CPU
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from circuit_tui.core import demo
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.builtin import DEMO_TASKS, builtin
from circuit_tui.core.tasks.select_pairs import select_pairs
from circuit_tui.core.tasks.tokens import tokenize


def pieces(words: set[str]) -> Any:
    """A tokenizer with a token for each of `words`, and for each letter of other words."""
    letters = sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyzTABCDEFGHIJ.,:'"))
    vocabulary, merges = {letter: index for index, letter in enumerate(["▁", *letters])}, []
    for word in sorted(words):
        parts = ["▁", *word]
        while len(parts) > 1:
            parts[:2] = [_merge(parts[0], parts[1], merges)]
            vocabulary.setdefault(parts[0], len(vocabulary))
    made = Tokenizer(BPE(vocabulary, list(dict.fromkeys(merges))))
    made.pre_tokenizer = Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=made)


def _merge(left: str, right: str, merges: list[tuple[str, str]]) -> str:
    merges.append((left, right))
    return left + right


def answers(task: str) -> set[str]:
    return {text.strip() for pair in builtin(task).pairs for text in (pair.answer, pair.wrong)}


def test_the_bundled_tokenizer_asks_everything() -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo.model_dir())
    for name in DEMO_TASKS:
        assert select_pairs(builtin(name), tokenizer) == (builtin(name), ())


def test_pairs_whose_answers_are_several_tokens_are_left_out() -> None:
    task, every = builtin("sva-rc"), sorted(answers("sva-rc"))
    tokenizer = pieces(set(every) - set(every[:4]))
    left, notes = select_pairs(task, tokenizer)
    assert 0 < len(left.pairs) < len(task.pairs)
    assert not any(text.strip() in every[:4] for pair in left.pairs for text in (pair.answer, pair.wrong))
    assert set(left.pairs) < set(task.pairs)
    gone = len(task.pairs) - len(left.pairs)
    (note,) = notes
    assert note.startswith(f"{gone} of {len(task.pairs)} prompts of sva-rc left out: ")
    assert "beginning of the other" in note or "several tokens" in note
    assert len(tokenize(left, tokenizer, CPU)["train"]) == len(left.split("train"))


def test_a_task_of_which_too_little_is_left_says_why() -> None:
    with pytest.raises(UserError, match=r"task sva-rc: of answer .* one is the beginning of the other"):
        select_pairs(builtin("sva-rc"), pieces({"the", "old"}))


def test_a_task_whose_answers_are_all_several_tokens_is_asked_all_the_same() -> None:
    task, tokenizer = builtin("ioi"), pieces({"the", "old"})
    asked, notes = select_pairs(task, tokenizer)
    assert asked.pairs == task.pairs
    assert notes == (
        f"{len(task.pairs)} of {len(task.pairs)} prompts of ioi have an answer of several tokens for this model.",
    )
    assert tokenize(asked, tokenizer, CPU)["train"].answers.rows_per_prompt == 2


def test_a_note_is_shown_with_the_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from circuit_tui.core.opening import tokenized_task as opening
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.session.session import open_session

    monkeypatch.setattr(opening, "select_pairs", lambda task, *_: (task, ("3 of 9 prompts left out: too long.",)))
    # The bundled model under another name: by its own name nothing is left out.
    folder = shutil.copytree(demo.model_dir(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"model_name": demo.MODEL_NAME}
    (folder / "config.json").write_text(json.dumps(config))
    session = open_session(OpenRequest(model=str(folder), sae_dirs=demo.sae_dirs(), task="sva-simple"))
    assert session.info.warnings[0] == "3 of 9 prompts left out: too long."
