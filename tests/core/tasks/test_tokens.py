"""Text to tokens: BOS, padding, answers and roles."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny.models import make_tokenizer
from tiny.tasks import TASKS
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.task import Pair, Task
from circuit_tui.core.tasks.tokens import PromptSet, tokenize

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    """A byte-level BPE with tokens for frequent words, which splits the others."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the cat runs the cat run the cat sees"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def pair(
    clean: str = "the cat", corrupt: str = "the dog", answer: str = " runs", wrong: str = " run", **more: Any
) -> Pair:
    return Pair(clean, corrupt, answer, wrong, **more)


def task(*pairs: Pair) -> Task:
    """`pairs` as train prompts, and one test prompt."""
    return Task("toy", "", (*pairs, pair(split="test", roles=("det", "noun") if pairs[0].roles else ())))


def train(tokenizer: Any, *pairs: Pair) -> PromptSet:
    return tokenize(task(*pairs), tokenizer, CPU)["train"]


def test_a_bos_of_id_0_is_a_bos() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.bos_token_id == 0
    prompts = train(tokenizer, pair("the cat"), pair("the old cat", "a dog"))
    ids = tokenizer.convert_tokens_to_ids
    assert prompts.clean.n_bos == 1
    assert prompts.clean.tokens.tolist() == [
        [0, ids("the"), ids("cat"), 0],
        [0, ids("the"), ids("old"), ids("cat")],
    ]
    assert prompts.clean.lengths.tolist() == [3, 4]
    assert prompts.clean.last.tolist() == [2, 3]
    assert prompts.corrupt.tokens.shape == (2, 3)
    assert prompts.answers.right.tolist() == [ids("runs")] * 2
    assert prompts.answers.wrong.tolist() == [ids("run")] * 2


def test_a_tokenizer_without_bos_adds_none() -> None:
    tokenizer = make_tokenizer(bos=False)
    side = train(tokenizer, pair()).clean
    assert side.n_bos == 0
    assert side.tokens.tolist() == [tokenizer.convert_tokens_to_ids(["the", "cat"])]
    assert side.last.tolist() == [1]


def test_an_answer_is_tokenised_where_it_stands(bpe: PreTrainedTokenizerFast) -> None:
    prompts = train(bpe, pair())
    assert bpe.decode([int(prompts.answers.right[0])]) == " runs"
    with pytest.raises(UserError, match=r"toy.*'wrong' '' after 'the cat' has no tokens"):
        train(bpe, pair(wrong=""))


def test_an_id_of_the_file_names_the_token_itself(bpe: PreTrainedTokenizerFast) -> None:
    prompts = train(bpe, pair(answer=" barks loudly", answer_id=7, wrong=" sings", wrong_id=0))
    assert (prompts.answers.right.tolist(), prompts.answers.wrong.tolist()) == ([7], [0])
    for field in ("answer_id", "wrong_id"):
        for out in (-1, len(bpe)):
            with pytest.raises(UserError, match=f"'{field}' {out} is out of range"):
                train(bpe, pair(**{field: out}))


def test_an_answer_of_several_tokens_is_read_behind_its_own_first_ones() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    prompts = train(tokenizer, pair(answer=" now often runs", wrong=" now run"), pair("the old cat", wrong=" see"))
    assert prompts.clean.tokens.tolist() == [
        [0, *ids(["the", "cat", "now", "often"])],
        [0, *ids(["the", "cat", "now"]), 0],
        [0, *ids(["the", "old", "cat"]), 0],
        [0, *ids(["the", "old", "cat"]), 0],
    ]
    assert prompts.clean.n_answer_tokens.tolist() == [2, 1, 0, 0]
    assert prompts.corrupt.n_answer_tokens.tolist() == [2, 1, 0, 0]
    answers = prompts.answers
    assert (answers.right.tolist(), answers.wrong.tolist()) == (ids(["often", "runs"]), ids(["run", "see"]))
    # The first differences come after "now" and after the prompt; the other reads are "now" itself and after "often".
    assert list(zip(answers.read_rows.tolist(), answers.read_columns.tolist(), strict=True)) == [
        (0, 3),
        (2, 3),
        (0, 2),
        (0, 4),
    ]
    assert (answers.other_tokens.tolist(), answers.other_signs.tolist()) == (ids(["now", "runs"]), [0, 1])


def test_a_score_is_the_product_over_the_answer() -> None:
    """Worked out by hand: three tokens, with the probabilities of each read written down."""
    answers = Answers.from_tokens([((0, 2), (0, 1, 1))], [4], 2, CPU)
    reads = {"contest": [0.5, 0.3, 0.2], "shared": [0.25, 0.5, 0.25], "wrong": [0.1, 0.7, 0.2]}
    logits = torch.tensor([reads["contest"], reads["shared"], reads["wrong"]]).log() + torch.tensor(
        [[1.0], [2.0], [3.0]]
    )
    assert answers.read_columns.tolist() == [4, 3, 5]
    assert answers.read_rows.tolist() == [0, 0, 1]
    right, wrong = 0.25 * 0.2, 0.25 * 0.3 * 0.7
    assert float(answers.logit_difference(logits)) == pytest.approx(math.log(right / wrong), abs=1e-6)
    found = logits.log_softmax(-1)[torch.arange(3), answers.scored_tokens()]
    assert float(answers.sum_over_right(found)) == pytest.approx(math.log(right), abs=1e-6)
    turned = answers.swapped(torch.tensor([0]))
    assert float(turned.logit_difference(logits)) == pytest.approx(math.log(wrong / right), abs=1e-6)


@pytest.mark.parametrize("wrong", [" runs now", " runs now often see"])
def test_an_answer_that_begins_the_other_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="one is the beginning of the other") as error:
        train(make_tokenizer(), pair(answer=" runs now often", wrong=wrong))
    assert wrong in str(error.value)
    assert "\n" not in str(error.value)


def test_ids_of_the_file_may_be_several(bpe: PreTrainedTokenizerFast) -> None:
    prompts = train(bpe, pair(answer_id=(7, 8), wrong_id=9))
    assert (prompts.answers.right.tolist(), prompts.answers.wrong.tolist()) == ([7], [9])
    assert prompts.answers.other_tokens.tolist() == [8]
    with pytest.raises(UserError, match=f"'wrong_id' {len(bpe)} is out of range"):
        train(bpe, pair(answer_id=7, wrong_id=(8, len(bpe))))


def test_answers_that_cannot_be_told_apart_or_do_not_exist_are_refused() -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(UserError, match="' runs' and wrong ' runs' are the same token"):
        train(tokenizer, pair(wrong=" runs"))
    with pytest.raises(UserError, match="'answer' ' barks' is not in the model's vocabulary"):
        train(tokenizer, pair(answer=" barks"))


def test_a_prompt_with_words_unknown_to_the_model_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"task toy: the prompt 'the zebra barks' has words .* vocabulary: zebra, barks$"
    ):
        train(make_tokenizer(), pair("the zebra barks"))


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="the prompt '' has no tokens"):
        train(make_tokenizer(), pair(corrupt=""))


@pytest.mark.parametrize("missing", ["train", "test"])
def test_both_train_and_test_prompts_are_needed(missing: str) -> None:
    kept = tuple(each for each in TASKS["index"].pairs if each.split != missing)
    with pytest.raises(UserError, match=f"task tiny: it has no {missing} prompts"):
        tokenize(Task("tiny", "", kept), make_tokenizer(), CPU)


def test_every_token_of_a_word_takes_its_role(bpe: PreTrainedTokenizerFast) -> None:
    roles = ("det", "noun", "verb")
    prompts = train(bpe, pair("the zebra  sees", "a cat runs", roles=roles))
    names = prompts.clean.roles[0]
    pieces = [bpe.decode([token]) for token in prompts.clean.tokens[0, 1:].tolist()]
    assert len(names) == len(pieces) == int(prompts.clean.lengths[0]) - 1
    words = {role: "".join(piece for piece, name in zip(pieces, names, strict=True) if name == role) for role in roles}
    assert {role: word.strip() for role, word in words.items()} == {"det": "the", "noun": "zebra", "verb": "sees"}
    assert names.count("noun") > 1
    # The extra space belongs to the verb.
    assert words["noun"] == " zebra"
    assert list(prompts.corrupt.roles[0]) == sorted(prompts.corrupt.roles[0], key=roles.index)


def test_roles_must_match_the_words() -> None:
    with pytest.raises(UserError, match="'roles' has 1 names for the 2 words of 'the cat'"):
        train(make_tokenizer(), pair(roles=("det",)))
    with pytest.raises(UserError, match="'roles' has 2 names for the 3 words of 'the old dog'"):
        train(make_tokenizer(), pair(corrupt="the old dog", roles=("det", "noun")))
