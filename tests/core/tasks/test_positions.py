"""Which tokens share a node, and which an ablation mean."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny.models import make_tokenizer

from circuit_tui.core.choices import AblationKind, PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.splice.ablation import positions_without_mean
from circuit_tui.core.tasks.positions import NO_POSITION, Alignment, align, pick_kind
from circuit_tui.core.tasks.task import Pair, Split, Task
from circuit_tui.core.tasks.tokens import PromptSet, tokenize

_ = NO_POSITION
NAMES = {2: ("det", "noun"), 3: ("det", "adj", "noun"), 4: ("det", "adj", "adj", "noun")}
TEXTS = {2: "the cat", 3: "the old cat", 4: "the big old cat"}


def sets(
    train: Sequence[tuple[int, int]], test: Sequence[tuple[int, int]] = (), roles: bool = False, bos: bool = True
) -> dict[Split, PromptSet]:
    """Prompts with (clean, corrupt) lengths in words."""
    rows: list[tuple[Split, tuple[int, int]]] = [("train", row) for row in train]
    rows += [("test", row) for row in (test or train)]
    pairs = [
        Pair(TEXTS[clean], TEXTS[corrupt], " runs", " run", split, NAMES[clean] if roles else ())
        for split, (clean, corrupt) in rows
    ]
    return tokenize(Task("toy", "", tuple(pairs)), make_tokenizer(bos), torch.device("cpu"))


def ids(alignment: Alignment, split: Split, side: str) -> list[list[int]]:
    return alignment.ids[split, side].tolist()


def test_each_by_index() -> None:
    alignment = align("each", sets([(3, 3), (3, 3)]), "toy")
    assert alignment.names == ("0", "1", "2")
    for key in alignment.ids:
        assert alignment.ids[key].tolist() == [[_, 0, 1, 2]] * 2
    assert alignment.mean_groups is alignment.ids
    assert alignment.n_mean_groups == 3


def test_without_bos_the_first_token_has_a_position() -> None:
    for kind, first in (("each", 0), ("end", 0), ("shared", 0)):
        alignment = align(kind, sets([(3, 3)], bos=False), "toy")  # type: ignore[arg-type]
        assert alignment.ids["train", "clean"][0, 0] == first


def test_each_by_role_joins_the_tokens_of_a_role() -> None:
    alignment = align("each", sets([(2, 2), (4, 4)], [(3, 3)], roles=True), "toy")
    assert alignment.names == ("det", "noun", "adj")
    assert ids(alignment, "train", "clean") == [[_, 0, 1, _, _], [_, 0, 2, 2, 1]]
    assert ids(alignment, "test", "clean") == [[_, 0, 2, 1]]


def test_a_role_unknown_to_the_train_prompts_is_refused() -> None:
    with pytest.raises(UserError, match="task toy: the role 'adj' of a test prompt occurs in no train prompt"):
        align("each", sets([(2, 2)], [(3, 3)], roles=True), "toy")


def test_a_role_that_only_unseen_prompts_have_is_no_position() -> None:
    every = sets([(2, 2)], [(2, 2)], roles=True)
    alignment = align("each", {**every, "unseen": sets([(2, 2)], [(3, 3)], roles=True)["test"]}, "toy")
    assert alignment.names == ("det", "noun")
    assert alignment.unspliced_roles == ("adj",)
    assert ids(alignment, "unseen", "clean") == [[_, 0, _, 1]]
    assert align("each", every, "toy").unspliced_roles == ()


def test_end_counts_from_the_answer() -> None:
    alignment = align("end", sets([(2, 3), (3, 2)], [(4, 2)]), "toy")
    assert alignment.names == ("-3", "-2", "-1")
    assert ids(alignment, "train", "clean") == [[_, 1, 2, _], [_, 0, 1, 2]]
    assert ids(alignment, "train", "corrupt") == [[_, 0, 1, 2], [_, 1, 2, _]]
    # Longer than any train prompt: the first tokens take the farthest position.
    assert ids(alignment, "test", "clean") == [[_, 0, 0, 1, 2]]


def test_shared_is_one_position_with_a_mean_for_each_length_and_index() -> None:
    alignment = align("shared", sets([(2, 2), (2, 4), (4, 4)], [(3, 3)]), "toy")
    assert alignment.names == ("all",)
    assert ids(alignment, "train", "clean") == [[_, 0, 0, _, _], [_, 0, 0, _, _], [_, 0, 0, 0, 0]]
    assert alignment.n_mean_groups == 2 + 4
    assert alignment.mean_groups["train", "clean"].tolist() == [[_, 0, 1, _, _], [_, 0, 1, _, _], [_, 2, 3, 4, 5]]
    assert alignment.mean_groups["train", "corrupt"].tolist() == [[_, 0, 1, _, _], [_, 2, 3, 4, 5], [_, 2, 3, 4, 5]]
    # No corrupt train prompt has three words: they take the groups of the nearest shorter length, the last one twice.
    assert alignment.mean_groups["test", "clean"].tolist() == [[_, 0, 1, 1]]


@pytest.mark.parametrize(
    ("lengths", "roles", "kind"),
    [([(3, 3), (3, 3)], False, "each"), ([(2, 2), (3, 3)], True, "each"), ([(2, 2), (3, 3)], False, "shared")],
)
def test_the_kind_is_each_where_that_is_possible(
    lengths: list[tuple[int, int]], roles: bool, kind: PositionsKind
) -> None:
    assert pick_kind(None, sets(lengths, roles=roles)) == kind
    assert pick_kind("end", sets(lengths, roles=roles)) == "end"


def test_each_needs_one_length_or_roles() -> None:
    with pytest.raises(
        UserError, match=r"--positions each: task toy: clean 'the cat' .* 3 and 4 tokens; use --positions"
    ):
        align("each", sets([(3, 3), (2, 3)]), "toy")
    with pytest.raises(UserError, match="--positions each: task toy: its prompts have several token lengths"):
        align("each", sets([(3, 3), (2, 2)]), "toy")


@pytest.mark.parametrize("ablation", ["mean", "clean-mean", "zero", "resample"])
@pytest.mark.parametrize(
    ("kind", "train", "test", "roles", "empty"),
    [
        ("each", [(3, 3), (2, 2)], [(3, 3)], True, ((), ())),
        ("end", [(3, 2), (2, 2)], [(2, 2)], False, (("-3",), ())),
        # A mean is over one index in prompts of one length, and no clean train prompt is as long as a corrupt one.
        ("shared", [(2, 2), (2, 3)], [(3, 2)], False, ((), ("all",))),
        ("shared", [(2, 2), (2, 2)], [(3, 2)], False, ((), ())),
    ],
)
def test_positions_for_which_there_is_no_mean(
    kind: PositionsKind,
    train: list[tuple[int, int]],
    test: list[tuple[int, int]],
    roles: bool,
    empty: tuple[tuple[str, ...], tuple[str, ...]],
    ablation: AblationKind,
) -> None:
    expected = {"mean": empty[0], "clean-mean": empty[1]}.get(ablation, ())
    assert positions_without_mean(align(kind, sets(train, test, roles), "toy"), ablation) == expected


def answered(*answers: tuple[str, str, Split], roles: tuple[str, ...] = ()) -> dict[Split, PromptSet]:
    """The prompt "the cat" with these answers, right and wrong."""
    pairs = tuple(Pair("the cat", "the dog", right, wrong, split, roles) for right, wrong, split in answers)
    return tokenize(Task("toy", "", pairs), make_tokenizer(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("kind", "roles", "names"),
    [("each", (), ("0", "1")), ("each", ("det", "noun"), ("det", "noun")), ("end", (), ("-2", "-1"))],
)
def test_the_answer_s_tokens_have_positions_of_their_own(
    kind: PositionsKind, roles: tuple[str, ...], names: tuple[str, ...]
) -> None:
    sets = answered((" runs now then", " run", "train"), (" runs now then often", " run now", "test"), roles=roles)
    alignment = align(kind, sets, "toy")
    assert alignment.names == (*names, "answer1", "answer2")
    assert ids(alignment, "train", "clean") == [[_, 0, 1, 2, 3], [_, 0, 1, _, _]]
    # An answer longer than any train answer: its last tokens take the last position.
    assert ids(alignment, "test", "corrupt") == [[_, 0, 1, 2, 3, 3], [_, 0, 1, 2, _, _]]


def test_a_role_may_have_the_name_of_a_place_in_the_answer() -> None:
    sets = answered((" runs now", " run", "train"), (" runs now", " run", "test"), roles=("det", "answer1"))
    alignment = align("each", sets, "toy")
    assert alignment.names == ("det", "answer1")
    assert ids(alignment, "train", "clean") == [[_, 0, 1, 1], [_, 0, 1, _]]


def test_shared_has_a_mean_for_each_place_in_the_answer() -> None:
    alignment = align("shared", answered((" runs now then", " run", "train"), (" runs now", " run", "test")), "toy")
    assert alignment.names == ("all",)
    assert ids(alignment, "train", "clean") == [[_, 0, 0, 0, 0], [_, 0, 0, _, _]]
    assert alignment.mean_groups["train", "corrupt"].tolist() == [[_, 0, 1, 2, 3], [_, 0, 1, _, _]]
    assert alignment.n_mean_groups == 4


def test_held_out_answers_of_several_tokens_need_such_train_answers() -> None:
    with pytest.raises(UserError, match="task toy: held-out prompts have answers of several tokens, and no train"):
        align("end", answered((" runs", " run", "train"), (" runs now", " run", "test")), "toy")
