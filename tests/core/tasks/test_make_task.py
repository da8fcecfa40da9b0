"""Tasks of templates: what is drawn, what is kept, how it is split, and what is said of a file that is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from agreement_templates import AGREEMENT
from transformers import AutoTokenizer

from circuit_tui.core import demo
from circuit_tui.core.errors import UserError
from circuit_tui.core.example_files import example_dir
from circuit_tui.core.tasks.builtin.smollm2 import NAMES
from circuit_tui.core.tasks.make_task import MadeTask, make_task
from circuit_tui.core.tasks.prompts_file import load_prompts, write_prompts
from circuit_tui.core.tasks.task import Pair, Task
from circuit_tui.core.tasks.templates import read_templates


class Words:
    """A tokenizer for which a word is a token, or as many as it has hyphens and one more."""

    is_fast, bos_token_id, unk_token_id = True, None, None

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return type("Encoding", (), {"input_ids": text.replace("-", " ").split()})

    def encode(self, text: str, add_special_tokens: bool = True) -> list[str]:
        return list(self(text).input_ids)

    def decode(self, tokens: list[str]) -> str:
        return " ".join(tokens)


def made(text: str, folder: Path, tokenizer: Any = None) -> MadeTask:
    path = folder / "t.toml"
    path.write_text(text)
    return make_task(read_templates(path), "t", tokenizer or Words())


def test_every_pair_is_a_template_filled_in(tmp_path: Path) -> None:
    found = made(AGREEMENT, tmp_path)
    first, second = found.templates
    for pair in first.pairs:
        the, kind, subject, that, the2, other, like = pair.clean.split()
        assert (the, that, the2, like) == ("The", "that", "the", "like")
        assert kind in ("old", "young")
        assert subject.rstrip("s") != other.rstrip("s"), "two draws from one list are different rows"
        assert (pair.answer, pair.wrong) == ((" wait", " waits") if subject.endswith("s") else (" waits", " wait"))
        twin = subject.removesuffix("s") if subject.endswith("s") else f"{subject}s"
        assert pair.corrupt == f"The {kind} {twin} that the {other} like"
        assert pair.roles == ("det", "adj", "noun", "that", "det2", "noun2", "verb2")
    # Three nouns, two others in two numbers, two kinds: all of 24 pairs with their twins, each once.
    assert len(first.pairs) == 40
    assert len({pair.clean for pair in first.pairs}) == 40
    assert {pair.split for pair in second.pairs} == {"unseen"}
    assert second.left_out["drawn before"] > 0 or len(second.pairs) == 40


def test_twins_stand_together_and_fall_into_one_split(tmp_path: Path) -> None:
    pairs = made(AGREEMENT, tmp_path).templates[0].pairs
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert (one.clean, one.corrupt, one.answer, one.wrong) == (
            other.corrupt,
            other.clean,
            other.wrong,
            other.answer,
        )
        assert one.split == other.split
    counts = Counter(pair.split for pair in pairs)
    assert counts == {"train": 26, "test": 14}, "two thirds of 20 pairs, and their twins"


def test_the_same_file_gives_the_same_task_and_a_template_does_not_depend_on_others(tmp_path: Path) -> None:
    every = made(AGREEMENT, tmp_path)
    assert made(AGREEMENT, tmp_path).task.sha256 == every.task.sha256
    before, rest = AGREEMENT.split("[[templates]]", 1)
    one, _, other = rest.partition("[[templates]]")
    turned = made(f"{before}[[templates]]{other}[[templates]]{one}", tmp_path)
    by_text = {each.text: {pair.clean for pair in each.pairs} for each in turned.templates}
    assert by_text[every.templates[0].text] == {pair.clean for pair in every.templates[0].pairs}
    assert made(f"seed = 1\n{AGREEMENT}", tmp_path).task.sha256 != every.task.sha256


TABLE = """
pairs = 30
split_by = "country"
[words.country]
name = "A B C D E F G H I"
capital = "a b c d e f g h i"
[draw]
x = "country"
y = "country"
[[sides]]
clean = { country = "{x.name}", answer = " {x.capital}" }
corrupt = { country = "{y.name}", answer = " {y.capital}" }
[[templates]]
text = "The capital of {country} is"
[[templates]]
text = "As we know {country} has"
unseen = true
"""


def test_a_list_that_splits_has_no_word_in_train_and_test(tmp_path: Path) -> None:
    task = made(TABLE, tmp_path).task
    words = {
        split: {word for pair in task.split(split) for word in (pair.answer, pair.wrong)} for split in ("train", "test")
    }
    assert len(words["train"]) == 6
    assert len(words["test"]) == 3
    assert not words["train"] & words["test"]
    for pair in task.pairs:
        assert pair.answer.strip() == pair.clean.split()[-2].lower()
        assert pair.wrong.strip() == pair.corrupt.split()[-2].lower()
    assert len({(pair.clean, pair.corrupt) for pair in task.pairs}) == len(task.pairs)


def test_words_and_pairs_that_are_several_tokens_are_left_out_and_told(tmp_path: Path) -> None:
    text = AGREEMENT.replace("pilot guard teacher", "pilot vice-guard teacher").replace("old young", "old ill-fed")
    found = made(text, tmp_path)
    assert found.words_left_out == {"noun": ("vice-guard",), "kind": ("ill-fed",)}
    assert "guard" not in write_prompts(found.task)
    several = made(f"single_tokens = false\n{text}", tmp_path)
    assert not several.words_left_out
    # A noun of two tokens in the singular and one in the plural makes twins of different length.
    assert several.templates[0].left_out["twins of different length"] > 0
    assert not any(
        "vice-guard" in (pair.clean.split()[2], pair.corrupt.split()[2]) for pair in several.templates[0].pairs
    )
    answers = made(
        AGREEMENT.replace('" waits"', '" wai-ts"', 1).replace("[[templates]]", OTHER + "[[templates]]", 1), tmp_path
    )
    assert answers.templates[0].left_out["an answer of several tokens"] > 0
    assert {pair.answer for pair in answers.task.pairs} == {" sits", " sit"}


OTHER = """
[[sides]]
clean = { subject = "{n.one}", answer = " sits" }
corrupt = { subject = "{n.many}", answer = " sit" }
"""


def test_a_slot_may_hold_several_words_and_they_share_its_role(tmp_path: Path) -> None:
    text = """
    pairs = 8
    [words]
    name = "Amy Ben Carl Dora"
    [draw]
    a = "name"
    b = "name"
    [[sides]]
    clean = { who = "{a} and {b}", answer = " they" }
    corrupt = { who = "{b} or {a}", answer = " one" }
    [[templates]]
    text = "So {who}, do"
    roles = "so who end"
    """
    for pair in made(text, tmp_path).task.pairs:
        assert pair.roles == ("so", "who", "who", "who", "end")
        assert pair.clean.split()[3].endswith(",")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    task = made(AGREEMENT, tmp_path).task
    odd = Task("t", "", (*task.pairs, Pair("Ä “x”", "B\u2028y", " c", " d", "unseen", (), 3, 4)))
    for each in (task, odd):
        (tmp_path / "t.jsonl").write_text(write_prompts(each))
        assert load_prompts(tmp_path / "t.jsonl").pairs == each.pairs


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("pairs = 40", "pairs = ", "not TOML"),
        ("pairs = 40", "pears = 40", "pears: there is no such key"),
        ("pairs = 40", "pairs = 0", "pairs: should be greater than or equal to 1"),
        ('n = "noun"', 'n = "nouns"', "template 1: draw.n: there is no word list 'nouns'; there are noun, kind"),
        ('"noun.one", ', '"noun.on", ', "template 1: draw.o: noun has no column 'on'; it has one, many"),
        ("guards teachers", "guards", "words.noun: its columns have several lengths (one 3, many 2)"),
        ('kind = "old young"', 'kind = " "', "words.kind: it has no words"),
        ("The {kind} {subject} that", "The {kinds} {subject} that", "{kinds} in"),
        ('"{n.one}"', '"{n}"', "name one of the columns of noun, as {n.one}"),
        ("det adj noun that det2 noun2 verb2", "det adj noun", "template 1: roles: 3 names for the 7 words"),
        ('roles = "det noun that det2 adj noun2"\n', "", "template 2: roles: either every template has them or none"),
        ('" waits"', '""', "sides.0.clean.answer: String should have at least 1 character"),
        (', answer = " waits"', ', reply = " waits"', "clean and corrupt have to fill the same slots"),
        ("pairs = 40", 'split_by = "nuon"', "split_by: there is no word list 'nuon'"),
        ("roles = \"det adj", "unseen = true\nroles = \"det adj", "all are unseen"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_in_one_line(before: str, after: str, says: str, tmp_path: Path) -> None:
    assert before in AGREEMENT
    with pytest.raises(UserError) as error:
        made(AGREEMENT.replace(before, after, 1), tmp_path)
    assert says in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 't.toml'}: ")
    assert "\n" not in str(error.value)


def test_a_task_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pair is left for train \(an answer of several tokens \d+\)"):
        made(AGREEMENT.replace('" wait"', '" wa-it"'), tmp_path)
    with pytest.raises(UserError, match=r"words\.kind: no word is a single token"):
        made(AGREEMENT.replace("old young", "o-ld yo-ung"), tmp_path)
    with pytest.raises(UserError, match=r"words\.country: 1 words are too few"):
        made(TABLE.replace("A B C D E F G H I", "A B").replace("a b c d e f g h i", "a b"), tmp_path)


def test_the_demo_tokenizer_takes_its_own_words(tmp_path: Path) -> None:
    found = made(AGREEMENT, tmp_path, AutoTokenizer.from_pretrained(demo.model_dir()))
    assert not found.words_left_out
    assert len(found.templates[0].pairs) == 40


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_of_smollm2_are_filled_in_templates(name: str) -> None:
    """Which words are single tokens only the model's tokenizer tells; everything else the files say themselves."""
    templates = read_templates(example_dir("smollm2") / "templates" / f"{name}.toml")
    task = load_prompts(example_dir("smollm2") / "tasks" / f"{name}.jsonl")
    again = make_task(templates, name, Words()).task
    assert [pair.roles for pair in task.pairs] == [pair.roles for pair in again.pairs]
    assert task.sha256 == again.sha256
