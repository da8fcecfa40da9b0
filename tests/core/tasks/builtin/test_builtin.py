"""Every built-in task has roles, splits, balanced answers, and the same pairs every time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.builtin.generate import SIZES, build
from circuit_tui.core.tasks.task import SPLITS, Pair, Task


@pytest.fixture(params=tasks.DEMO_TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return tasks.builtin(request.param)


def test_the_names_are_the_promised_ones() -> None:
    demo = ("sva-simple", "sva-rc", "sva-pp", "ioi", "pronoun", "greater-than", "code-list", "code-dict")
    english = ("smollm2-sva", "smollm2-pronoun", "smollm2-capital", "smollm2-opposite", "smollm2-ioi")
    assert (tasks.DEMO_TASKS, tasks.SMOLLM2_TASKS, tasks.names()) == (demo, english, demo + english)
    assert all(tasks.builtin(name).name == name for name in tasks.names())


def test_an_unknown_name_is_told_with_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(UserError) as error:
        tasks.builtin("svarc")
    message = str(error.value)
    assert "'svarc'" in message
    assert "did you mean sva-rc?" in message
    assert all(name in message for name in tasks.names())
    with pytest.raises(UserError) as far:
        tasks.builtin("zzzzzzzz")
    assert "did you mean" not in str(far.value)


def test_split_sizes(task: Task) -> None:
    assert {split: len(task.split(split)) for split in SPLITS} == SIZES == {"train": 512, "test": 128, "unseen": 128}


def test_every_word_has_a_role_and_the_twin_has_as_many_words(task: Task) -> None:
    for pair in task.pairs:
        assert len(pair.clean.split()) == len(pair.corrupt.split()) == len(pair.roles)
        assert all(pair.roles)
        assert pair.clean == " ".join(pair.clean.split())


def test_train_and_test_have_one_length_and_every_role_once(task: Task) -> None:
    pairs = task.split("train") + task.split("test")
    assert len({len(pair.roles) for pair in pairs}) == 1
    assert len({frozenset(pair.roles) for pair in pairs}) == 1
    assert all(len(set(pair.roles)) == len(pair.roles) for pair in pairs)


def test_unseen_is_another_template_with_the_same_roles(task: Task) -> None:
    known = {role for pair in task.split("train") for role in pair.roles}
    frames = {_frame(pair) for pair in task.split("train")}
    for pair in task.split("unseen"):
        assert set(pair.roles) <= known
        assert _frame(pair) not in frames


def _frame(pair: Pair) -> tuple[tuple[str, ...], frozenset[str]]:
    """The order of the roles and the brackets of a prompt; a tuple has the roles of a list."""
    return pair.roles, frozenset(word for word in pair.clean.split() if word in "()[]{}")


def test_no_clean_prompt_twice_and_none_in_another_split(task: Task) -> None:
    clean = [pair.clean for pair in task.pairs]
    assert len(set(clean)) == len(clean)
    for split in SPLITS:
        others = {prompt for pair in task.pairs if pair.split != split for prompt in (pair.clean, pair.corrupt)}
        assert not others & {pair.clean for pair in task.split(split)}


def test_answers_differ_and_are_one_word_after_a_blank(task: Task) -> None:
    for pair in task.pairs:
        assert pair.answer != pair.wrong
        assert pair.clean != pair.corrupt
        for text in (pair.answer, pair.wrong):
            assert text.startswith(" ")
            assert len(text.split()) == 1


def test_the_corrupt_prompt_changes_only_what_decides(task: Task) -> None:
    decides = {
        "sva-simple": "subject", "sva-rc": "subject", "sva-pp": "subject", "ioi": "S2", "pronoun": "name",
        "greater-than": "start", "code-list": "asked", "code-dict": "asked",
    }[task.name]  # fmt: skip
    for pair in task.pairs:
        words = zip(pair.clean.split(), pair.corrupt.split(), pair.roles, strict=True)
        assert {role for clean, corrupt, role in words if clean != corrupt} == {decides}


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_balanced(task: Task, split: str) -> None:
    """An answer is right as often as it is wrong, except in greater-than, where it is larger by design."""
    pairs = [pair for pair in task.pairs if pair.split == split]
    right, wrong = Counter(pair.answer for pair in pairs), Counter(pair.wrong for pair in pairs)
    if task.name == "greater-than":
        assert all(int(pair.wrong) <= int(_word(pair, "start")) < int(pair.answer) for pair in pairs)
    elif task.name.startswith("code"):
        assert right[" Traceback"] == wrong[" Traceback"] == len(pairs) // 2
    else:
        assert right == wrong


def _word(pair: Pair, role: str) -> str:
    return pair.clean.split()[pair.roles.index(role)]


def test_ioi_mixes_both_orders() -> None:
    for split in SPLITS:
        pairs = tasks.builtin("ioi").split(split)
        assert sum(pair.roles.index("IO") < pair.roles.index("S1") for pair in pairs) == len(pairs) // 2
        for pair in pairs:
            assert pair.answer == f" {_word(pair, 'IO')}"
            assert pair.wrong == f" {_word(pair, 'S1')}"
            assert _word(pair, "S2") == _word(pair, "S1")


@pytest.mark.parametrize("name", ["code-list", "code-dict"])
def test_python_agrees(name: str) -> None:
    for pair in tasks.builtin(name).pairs:
        _, statement, query = (part.strip() for part in pair.clean.split(">>>"))
        scope: dict[str, object] = {}
        exec(statement, scope)
        try:
            printed = str(eval(query.removeprefix("print"), scope))
        except LookupError:
            printed = "Traceback"
        assert pair.answer == f" {printed}"


def test_a_fresh_process_makes_the_same_pairs() -> None:
    program = (
        "from circuit_tui.core.tasks import builtin as tasks; "
        "print(*(tasks.builtin(name).sha256 for name in tasks.names()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [tasks.builtin(name).sha256 for name in tasks.names()]


def test_a_template_with_too_few_prompts_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no new pair for train"):
        build("tiny", "", lambda *_: Pair("a", "b", " c", " d"), lambda *_: Pair("e", "f", " c", " d"))
