"""The problem a search would have had on other prompts, or with labels that mean nothing.

References, statistics and candidates stay those of the problem itself: what an ablated node becomes is part of what is
claimed, not of the search.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.audit.finding import AuditSearch
from circuit_tui.core.splice.batch import PreparedSplit
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts


def problem_for(problem: Problem, search: AuditSearch) -> Problem:
    """What `search` looks at: `problem` itself, resampled search prompts, or shuffled labels.

    A resampling draws as many prompts as there are, with replacement.
    """
    if search.kind == "shuffled":
        return with_shuffled_labels(problem, search.draw)
    if search.kind == "resamplings":
        n = len(problem.splits["train"])
        return with_train(problem, torch.randint(n, (n,), generator=torch.Generator().manual_seed(search.draw)))
    return problem


def with_train(problem: Problem, prompts: Tensor) -> Problem:
    """`problem` with the train prompts of numbers `prompts` `[prompt]` alone; a number may stand there twice."""
    prompts = prompts.to(problem.model.device)
    rows = problem.splits["train"].answers.rows_of(prompts)
    ids, means = dict(problem.alignment.ids), dict(problem.alignment.mean_groups)
    for side in ("clean", "corrupt"):
        ids["train", side] = ids["train", side][rows]
        means["train", side] = means["train", side][rows]
    old = problem.prompt_sets["train"]
    chosen = PromptSet(
        tuple(old.pairs[index] for index in prompts.tolist()),
        _side(old.clean, rows),
        _side(old.corrupt, rows),
        old.answers.select(prompts)[0],
    )
    return replace(
        problem,
        prompt_sets=problem.prompt_sets | {"train": chosen},
        alignment=replace(problem.alignment, ids=ids, mean_groups=means),
        splits=problem.splits | {"train": _split(problem.splits["train"], prompts)},
        spliced_resids=tuple(resid[rows] for resid in problem.spliced_resids),
        spliced_corrupt_resids=tuple(resid[rows] for resid in problem.spliced_corrupt_resids),
        spliced_sae_inputs=tuple(read[rows] for read in problem.spliced_sae_inputs),
        spliced_corrupt_sae_inputs=tuple(read[rows] for read in problem.spliced_corrupt_sae_inputs),
    )


def with_shuffled_labels(problem: Problem, seed: int) -> Problem:
    """`problem` with right and wrong exchanged on a random half of the prompts of each split.

    The model is made to mean it: where the answers are exchanged so are its two logits at their contest, set so far
    apart that what follows there is made up for. So the model of this problem answers the nonsense labels as surely as
    M answers the real ones, and faithfulness 1 on it means to have found a circuit that does so too.
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


def _side(side: TokenizedPrompts, rows: Tensor) -> TokenizedPrompts:
    roles = tuple(side.roles[index] for index in rows.tolist())
    return replace(
        side,
        tokens=side.tokens[rows],
        lengths=side.lengths[rows],
        roles=roles,
        n_answer_tokens=side.n_answer_tokens[rows],
    )


def _split(split: PreparedSplit, prompts: Tensor) -> PreparedSplit:
    answers, reads = split.answers.select(prompts)
    rows = split.answers.rows_of(prompts)
    return PreparedSplit(
        split.prefix[rows],
        split.ids[rows],
        split.reference_rows[rows],
        split.reference_row_of_group,
        tuple(None if error is None else error[rows] for error in split.errors),
        split.lengths[rows],
        answers,
        split.plain_logits[reads],
    )
