"""A problem that asks about one free prompt: its held-out prompts are that prompt alone.

The prompt takes everything else from the task: the candidates, and the reference of each of its tokens, which is that
of the token's position among the task's train prompts, as in the search.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.check_model import check_model, check_tokens, is_checked
from circuit_tui.core.opening.open_problem import RESAMPLE_SEED, OpenedProblem
from circuit_tui.core.prompting.report import FreePrompt
from circuit_tui.core.prompting.role_templates import matching_roles
from circuit_tui.core.splice.problem import Problem, with_test_prompts
from circuit_tui.core.tasks.positions import align
from circuit_tui.core.tasks.task import Pair, Split, Task
from circuit_tui.core.tasks.tokens import PromptSet, tokenize

NO_ANSWERS = (0, 1)
"""The tokens that stand for answers where there are none; nothing that depends on them is said."""


def problem_on(opened: OpenedProblem, prompt: FreePrompt) -> Problem:
    """Returns the problem of `opened` with `prompt` as its only test prompt; it shares all other tensors.

    Raises:
        UserError: the prompt has no words, words that the model does not know, answers that cannot be told apart, or
            positions that the task does not have.
    """
    problem = opened.problem
    prompt.check()
    prompts = tokenize_prompt(opened, prompt, _roles(problem, prompt))
    _check_length(problem, prompts)
    with torch.no_grad():
        sets: dict[Split, PromptSet] = {"train": problem.prompt_sets["train"], "test": prompts}
        alignment = align(problem.alignment.kind, sets, problem.task.name)
        return with_test_prompts(problem, prompts, alignment, RESAMPLE_SEED)


def tokenize_prompt(opened: OpenedProblem, prompt: FreePrompt, roles: tuple[str, ...] = ()) -> PromptSet:
    """Returns `prompt` as tokens, as the task's prompts are; without answers, tokens stand for them.

    The model is compared with Hugging Face's own if the prompt is shorter or longer than any that it was compared on.

    Raises:
        UserError: words that the model does not know, more tokens than it reads, or answers that cannot be told apart.
    """
    model, name = opened.problem.model, opened.problem.task.name
    pair = Pair(
        prompt.text,
        prompt.text if prompt.corrupt is None else prompt.corrupt,
        prompt.answer or "",
        prompt.wrong or "",
        roles=roles,
        answer_id=NO_ANSWERS[0] if prompt.answer is None else None,
        wrong_id=NO_ANSWERS[1] if prompt.wrong is None else None,
    )
    both = Task(name, "", (replace(pair, split="train"), replace(pair, split="test")))
    prompts = tokenize(both, model.tokenizer, model.device, opened.chat, opened.bos)["test"]
    own: dict[Split, PromptSet] = {"test": prompts}
    check_tokens(model, own, name)
    if model.folder is not None and not is_checked(model, own):
        check_model(model, own, 1)
    return prompts


def _has_roles(problem: Problem) -> bool:
    return problem.alignment.kind == "each" and bool(problem.task.split("train")[0].roles)


def _roles(problem: Problem, prompt: FreePrompt) -> tuple[str, ...]:
    """The roles of the prompt's words: the given ones, those of a matching template, or none where none are needed."""
    if not _has_roles(problem):
        if prompt.roles:
            raise UserError(
                f"--roles: positions are {problem.alignment.kind!r} here and have no roles; leave the flag out"
            )
        return ()
    if not prompt.roles:
        return matching_roles(problem.task, prompt.text)
    known = problem.alignment.names
    unknown = [role for role in prompt.roles if role not in known]
    if unknown:
        raise UserError(f"--roles: the task has no position {unknown[0]!r}; it has {', '.join(known)}")
    return prompt.roles


def _check_length(problem: Problem, prompts: PromptSet) -> None:
    """Checks that positions by index are those of the task's prompts, which all have one length."""
    if problem.alignment.kind != "each" or _has_roles(problem):
        return
    train = problem.prompt_sets["train"].clean
    own, needed = int(prompts.clean.prompt_lengths[0]), int(train.prompt_lengths[0])
    for text, length in (
        (prompts.pairs[0].clean, own),
        (prompts.pairs[0].corrupt, int(prompts.corrupt.prompt_lengths[0])),
    ):
        if length != needed:
            raise UserError(
                f"the prompt {text!r} has {length} tokens, and a position is a token's index in the task's prompts, "
                f"which all have {needed}"
            )
