"""The same problem with other search prompts, with labels that mean nothing, or with dictionaries nobody learned.

With other prompts or labels, references, statistics and candidates stay those of the problem itself: the value that an
ablated node takes belongs to the claim about the circuit, not to the search.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.audit.finding import AuditSearch
from circuit_tui.core.audit.plain_dictionaries import with_dictionary
from circuit_tui.core.splice.batch import PreparedSplit
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts

DICTIONARY = "dictionary-"
"""How the kind of a search begins that has plain dictionaries in place of the SAEs."""


def altered_problem(problem: Problem, search: AuditSearch) -> Problem:
    """Returns the problem that `search` searches: `problem` as it is, or altered as the kind of search says.

    A resampling draws as many prompts as there are, with replacement.
    """
    if search.kind == "shuffled":
        return with_shuffled_labels(problem, search.draw)
    if search.kind.startswith(DICTIONARY):
        return with_dictionary(problem, search.kind.removeprefix(DICTIONARY), search.draw)
    if search.kind == "resamplings":
        n = len(problem.splits["train"])
        return with_train_prompts(problem, torch.randint(n, (n,), generator=torch.Generator().manual_seed(search.draw)))
    return problem


def with_train_prompts(problem: Problem, prompts: Tensor) -> Problem:
    """Returns `problem` with the train prompts that have the numbers `prompts` `[prompt]`; a number may be repeated."""
    prompts = prompts.to(problem.model.device)
    rows = problem.splits["train"].answers.rows_of(prompts)
    ids, means = dict(problem.alignment.ids), dict(problem.alignment.mean_groups)
    for side in ("clean", "corrupt"):
        ids["train", side] = ids["train", side][rows]
        means["train", side] = means["train", side][rows]
    old = problem.prompt_sets["train"]
    chosen = PromptSet(
        tuple(old.pairs[index] for index in prompts.tolist()),
        _select_rows(old.clean, rows),
        _select_rows(old.corrupt, rows),
        old.answers.select(prompts)[0],
    )
    return replace(
        problem,
        prompt_sets=problem.prompt_sets | {"train": chosen},
        alignment=replace(problem.alignment, ids=ids, mean_groups=means),
        splits=problem.splits | {"train": _select_prompts(problem.splits["train"], prompts)},
        spliced_resids=tuple(resid[rows] for resid in problem.spliced_resids),
        spliced_corrupt_resids=tuple(resid[rows] for resid in problem.spliced_corrupt_resids),
        spliced_sae_inputs=tuple(inputs[rows] for inputs in problem.spliced_sae_inputs),
        spliced_corrupt_sae_inputs=tuple(inputs[rows] for inputs in problem.spliced_corrupt_sae_inputs),
    )


def with_shuffled_labels(problem: Problem, seed: int) -> Problem:
    """Returns `problem` with right and wrong exchanged on a random half of the train and of the test prompts.

    Where the answers are exchanged, so are the model's two logits at the first token in which they differ. If answers
    have more tokens, the right logit is lowered by twice what the tokens after it add to the logit difference. So the
    model of this problem answers the nonsense labels as surely as M answers the real ones, and a circuit with
    faithfulness 1 does so too.
    """
    draw = torch.Generator().manual_seed(seed)
    sets, splits = dict(problem.prompt_sets), dict(problem.splits)
    names: tuple[Split, ...] = ("train", "test")
    for name in names:
        split, prompts = splits[name], sets[name]
        chosen = torch.randperm(len(split), generator=draw)[: len(split) // 2].to(split.lengths.device)
        answers, logits = split.answers.swapped(chosen), split.plain_logits.clone()
        right, wrong = answers.right[chosen], answers.wrong[chosen]
        logits[chosen, right] = split.plain_logits[chosen, wrong]
        logits[chosen, wrong] = split.plain_logits[chosen, right]
        if len(answers.other_prompts):
            logits[chosen, right] -= 2 * answers.after_first_difference(split.plain_logits)[chosen]
        splits[name] = replace(split, answers=answers, plain_logits=logits)
        sets[name] = replace(prompts, answers=answers)
    return replace(problem, prompt_sets=sets, splits=splits)


def _select_rows(prompts: TokenizedPrompts, rows: Tensor) -> TokenizedPrompts:
    return replace(
        prompts,
        tokens=prompts.tokens[rows],
        lengths=prompts.lengths[rows],
        roles=tuple(prompts.roles[row] for row in rows.tolist()),
        n_answer_tokens=prompts.n_answer_tokens[rows],
    )


def _select_prompts(split: PreparedSplit, prompts: Tensor) -> PreparedSplit:
    answers, reads = split.answers.select(prompts)
    rows = split.answers.rows_of(prompts)
    return PreparedSplit(
        split.tokens[rows],
        split.prefix[rows],
        split.ids[rows],
        split.reference_rows[rows],
        split.reference_row_of_group,
        tuple(None if error is None else error[rows] for error in split.errors),
        split.lengths[rows],
        answers,
        split.plain_logits[reads],
    )
