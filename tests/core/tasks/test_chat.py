"""Prompts as a user's messages: their tokens are those of the tokenizer's own template, and are spliced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models import make_tokenizer
from tiny.models_with_saes import CPU, TinyModel
from tiny.problems import random_circuit
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task
from tiny.tasks import TASKS, make_task
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import open_session
from circuit_tui.core.splice.problem import build_problem
from circuit_tui.core.splice.reference_passes import chunks
from circuit_tui.core.tasks.chat import render_chat
from circuit_tui.core.tasks.chat_date import CHAT_DATE
from circuit_tui.core.tasks.positions import align
from circuit_tui.core.tasks.task import Pair, Task
from circuit_tui.core.tasks.tokens import tokenize, tokens_sha256

# Words of the tiny vocabulary serve as a template's markers.
TEMPLATE = (
    "{{ bos_token }} near {% for m in messages %}{{ m['content'] | trim }}{% endfor %} then "
    "{% if add_generation_prompt %}by {% endif %}"
)


def chatty(template: str | None = TEMPLATE, *, bos: bool = True) -> Any:
    tokenizer = make_tokenizer(bos)
    tokenizer.chat_template = template
    return tokenizer


def test_the_tokens_are_those_of_the_template() -> None:
    task, tokenizer = make_task((5, 6, 7), (6, 6), roles=True), chatty()
    for split, prompts in tokenize(task, tokenizer, CPU, chat=True).items():
        for row, length, pair in zip(prompts.clean.tokens, prompts.clean.lengths, task.split(split), strict=True):
            message = [{"role": "user", "content": pair.clean}]
            theirs = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
            assert row[: int(length)].tolist() == list(theirs)
        assert prompts.clean.n_bos == 1
        verb = tokenizer.convert_tokens_to_ids(task.split(split)[0].answer.strip())
        assert int(prompts.answers.right[0]) == verb


def test_what_the_template_adds_has_positions_of_its_own() -> None:
    task = make_task((6, 6), (6,), roles=True)
    prompts = tokenize(task, chatty(), CPU, chat=True)["train"]
    roles = task.split("train")[0].roles
    assert prompts.clean.roles[0] == ("before", *roles, "after", "after")
    assert align("each", {"train": prompts, "test": prompts}, "tiny").names == ("before", *roles, "after")


def test_a_template_without_bos_gets_none() -> None:
    task = make_task((6, 6), (6,))
    prompts = tokenize(task, chatty(TEMPLATE.removeprefix("{{ bos_token }} ")), CPU, chat=True)["train"]
    assert prompts.clean.n_bos == 0
    assert prompts.clean.tokens.shape[1] == 6 + 3
    assert tokenize(task, chatty(bos=False), CPU)["train"].clean.n_bos == 0


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template"),
        ("{{ messages[0]['content'] | upper }}", "changes the prompt"),
        ("{{ raise_exception('roles must alternate') }}", "template fails: roles must alternate"),
    ],
)
def test_templates_that_do_not_serve(template: str | None, says: str) -> None:
    with pytest.raises(UserError) as error:
        tokenize(make_task((6,), (6,)), chatty(template), CPU, chat=True)
    assert says in str(error.value)
    assert "--chat" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_chat_is_measured_recorded_and_opened_again(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    opened = tiny_model("llama")
    folder = tmp_path / "model"
    folder.mkdir()
    for path in opened.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    chatty().save_pretrained(folder)
    task = solvable_task(opened, (6,) * 9, (6,) * 5)
    asked: OpenRequest = request(opened, write_prompts(task, tmp_path / "able.jsonl"))
    session = open_session(OpenRequest(**{**fields(asked), "model": str(folder), "chat": True}))
    hf, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for index, pair in enumerate(task.split("test")):
        message = [{"role": "user", "content": pair.clean}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            logits = hf(torch.tensor([ids])).logits[0, -1]
        right, wrong = (tokenizer.convert_tokens_to_ids(text.strip()) for text in (pair.answer, pair.wrong))
        plain = session.experiment.test.baselines.plain.logit_diff[index]
        assert float(plain) == pytest.approx(float(logits[right] - logits[wrong]), abs=1e-4)
    session.only(random_circuit(session.problem, 0.2, 0).nonzero()[:, 0].tolist())
    path = session.export(tmp_path / "c.json")
    assert read_circuit(path).task.chat
    again = open_session(OpenRequest(circuit=path))
    while again.work():
        pass
    assert again.view().test == session.view().test
    data = json.loads(path.read_text())
    data["task"]["chat"] = False
    path.write_text(json.dumps(data))
    with pytest.raises(UserError):
        session.open_circuit(path)


def fields(asked: OpenRequest) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in OpenRequest.__dataclass_fields__}


def test_the_side_on_which_a_tokenizer_pads_is_of_no_account() -> None:
    task = make_task((5, 6, 7), (5, 7))
    left, right = make_tokenizer(), make_tokenizer()
    left.padding_side, right.padding_side = "left", "right"
    for split, one in tokenize(task, left, CPU).items():
        other = tokenize(task, right, CPU)[split]
        assert torch.equal(one.clean.tokens, other.clean.tokens)
        assert torch.equal(one.clean.last, other.clean.last)


def test_prompts_of_mixed_lengths_are_run_in_buckets() -> None:
    lengths = torch.tensor([30, 4, 9, 8, 5, 31, 70, 4])
    found = chunks(lengths, None)
    assert [lengths[part].tolist() for part in found] == [[4, 4, 5, 8], [9], [30, 31], [70]]
    assert [lengths[part].tolist() for part in chunks(lengths, 3)] == [[4, 4, 5], [8, 9], [30, 31], [70]]
    assert sorted(torch.cat(found).tolist()) == list(range(8))
    assert chunks(torch.zeros(0, dtype=torch.long), None) == []


def test_a_pair_of_very_different_lengths_is_measured_like_any_other(tiny_model: Callable[[str], TinyModel]) -> None:
    from tiny.compare import assert_circuits_agree
    from tiny.problems import open_problem

    from circuit_tui.core.evaluation.evaluator import Evaluator

    short = [Pair("cat", "dog", " runs", " run", "train"), Pair("hen", "cow", " sees", " see", "test")]
    task = Task("mixed", "", (*make_task((8, 8), (8, 7)).pairs, *short))
    problem = open_problem(tiny_model("gpt2"), task, "shared")
    assert len(problem.batches("test")) == 2
    assert_circuits_agree(tiny_model("gpt2"), Evaluator(problem, "test"), seed=0)


def test_answers_of_several_tokens_stand_where_the_template_lets_the_model_begin(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """The score is a plain model's for the template's own tokens followed by the answer."""
    opened, task, tokenizer = tiny_model("llama"), TASKS["mixed-multi"], chatty()
    sets = tokenize(task, tokenizer, CPU, chat=True)
    problem = build_problem(opened.model, opened.sites, task, sets, align("shared", sets, "tiny"), "mean", "drop", 2, 0)
    plain = Evaluator(problem, "test").baselines.plain
    hf = AutoModelForCausalLM.from_pretrained(opened.folder).eval()
    for index, pair in enumerate(task.split("test")):
        message = [{"role": "user", "content": pair.clean}]
        prompt = list(tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False))
        scores = []
        for answer in (pair.answer, pair.wrong):
            ids = tokenizer.convert_tokens_to_ids(answer.split())
            with torch.no_grad():
                rows = hf(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            scores.append(float(rows[range(len(prompt) - 1, len(prompt) + len(ids) - 1), ids].sum()))
        assert float(plain.logit_diff[index]) == pytest.approx(scores[0] - scores[1], abs=1e-4)
        assert float(plain.cross_entropy[index]) == pytest.approx(-scores[0], abs=1e-4)
    roles = tokenize(TASKS["roles-multi"], tokenizer, CPU, chat=True)
    names = align("each", roles, "tiny").names
    assert names[-2:] == ("answer1", "answer2")
    assert {"before", "after"} <= set(names)


DATED = "{{ strftime_now('%Y-%m-%d') }} {{ messages[0].content }}"


def test_a_template_that_asks_for_the_date_gets_the_same_one_every_day() -> None:
    assert render_chat("near then", chatty(DATED), "task").text == f"{CHAT_DATE} near then"


def test_templates_still_get_the_day_s_date_from_transformers() -> None:
    """When this fails, `fixed_date` may be replaced by passing ``strftime_now``."""
    message = [{"role": "user", "content": "near"}]
    with pytest.raises(TypeError):
        chatty(DATED).apply_chat_template(message, tokenize=False, strftime_now=lambda form: CHAT_DATE)


def test_the_hash_of_the_tokens_tells_what_the_hash_of_the_texts_does_not() -> None:
    task = make_task((5, 6), (6, 6), roles=True)
    plain, chat = tokenize(task, chatty(), CPU), tokenize(task, chatty(), CPU, chat=True)
    without = tokenize(task, chatty(), CPU, bos=False)
    assert len({tokens_sha256(sets) for sets in (plain, chat, without)}) == 3
    assert tokens_sha256(plain) == tokens_sha256(tokenize(task, chatty(), CPU))
    assert int(without["train"].clean.lengths[0]) == int(plain["train"].clean.lengths[0]) - 1
    assert without["train"].clean.n_bos == 0
