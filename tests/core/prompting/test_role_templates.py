"""The templates of a task, and the roles of words that match one."""

from __future__ import annotations

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.prompting.role_templates import matching_roles, templates_of
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.task import Pair, Task


def _task(*pairs: tuple[str, str, str]) -> Task:
    return Task(
        "names",
        "",
        tuple(Pair(clean, corrupt, " a", " b", roles=tuple(roles.split())) for clean, corrupt, roles in pairs),
    )


NAMES = _task(
    ("then Ann met Bob and Bob gave", "then Ann met Bob and Ann gave", "at IO verb S1 and S2 gave"),
    ("then Tom met Kim and Kim gave", "then Tom met Kim and Tom gave", "at IO verb S1 and S2 gave"),
    ("then Ann met Bob and Ann gave", "then Ann met Bob and Bob gave", "at S1 verb IO and S2 gave"),
    ("then Tom met Kim and Tom gave", "then Tom met Kim and Kim gave", "at S1 verb IO and S2 gave"),
)


def test_a_word_that_all_prompts_have_is_fixed_and_a_name_said_twice_is_known() -> None:
    first, second = templates_of(NAMES)
    assert str(first) == "then [IO] met [S1] and [S2] gave"
    assert (first.repeated, second.repeated) == (((3, 5),), ((1, 5),))


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("then Eve met Sam and Sam gave", "at IO verb S1 and S2 gave"),
        ("then Eve met Sam and Eve gave", "at S1 verb IO and S2 gave"),
    ],
)
def test_of_two_templates_with_the_same_words_the_one_whose_name_repeats_is_taken(text: str, roles: str) -> None:
    assert matching_roles(NAMES, text) == tuple(roles.split())


def test_the_template_that_fixes_most_words_is_taken() -> None:
    task = _task(
        ("the cat near the dog", "the cow near the dog", "det subject prep det2 noun"),
        ("a cat by the cow", "a dog by the cow", "det subject prep det2 noun"),
        ("the cat that the dog", "the cow that the cow", "det subject that det3 noun"),
    )
    assert matching_roles(task, "the hen that the fox") == ("det", "subject", "that", "det3", "noun")
    assert matching_roles(task, "the hen with the fox") == ("det", "subject", "prep", "det2", "noun")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("then Eve met Sam", "matches no template of task names"),
        ("now Eve met Sam and Sam gave", "matches no template"),
        ("then Eve met Sam and Joe gave", "matches two templates"),
    ],
)
def test_what_matches_none_or_two_is_refused_with_the_flag_that_helps(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        matching_roles(NAMES, text)
    assert "--roles" in str(caught.value)


@pytest.mark.parametrize("name", list(tasks.names()))
def test_every_clean_train_prompt_of_the_demo_has_its_own_roles(name: str) -> None:
    task = tasks.builtin(name)
    for pair in task.split("train")[::37]:
        assert matching_roles(task, pair.clean) == pair.roles
