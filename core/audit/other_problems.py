"""The problem a search would have had on other prompts, or with labels that mean nothing.

References, statistics and candidates stay those of the problem itself: what an ablated node becomes is part of what is
claimed, not of the search.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.batch import SplitTensors
from circuit_tui.core.problem import Problem
from circuit_tui.core.task import Split
from circuit_tui.core.tokens import PromptSet, Side


def with_train(problem: Problem, prompts: Tensor) -> Problem:
    """`problem` with the train prompts of numbers `prompts` `[prompt]` alone; a number may stand there twice."""
    prompts = prompts.to(problem.model.device)
    ids, means = dict(problem.alignment.ids), dict(problem.alignment.means)
    for side in ("clean", "corrupt"):
        ids["train", side] = ids["train", side][prompts]
        means["train", side] = means["train", side][prompts]
    old = problem.sets["train"]
    chosen = PromptSet(
        tuple(old.pairs[index] for index in prompts.tolist()),
        _side(old.clean, prompts),
        _side(old.corrupt, prompts),
        old.right[prompts],
        old.wrong[prompts],
    )
    return replace(
        problem,
        sets=problem.sets | {"train": chosen},
        alignment=replace(problem.alignment, ids=ids, means=means),
        splits=problem.splits | {"train": _split(problem.splits["train"], prompts)},
        spliced_inputs=tuple(resid[prompts] for resid in problem.spliced_inputs),
        spliced_corrupt_inputs=tuple(resid[prompts] for resid in problem.spliced_corrupt_inputs),
        spliced_reads=tuple(read[prompts] for read in problem.spliced_reads),
        spliced_corrupt_reads=tuple(read[prompts] for read in problem.spliced_corrupt_reads),
    )


def with_shuffled_labels(problem: Problem, seed: int) -> Problem:
    """`problem` with right and wrong exchanged on a random half of the prompts of each split.

    The model is made to mean it: where the answers are exchanged its two logits are as well. So the model of this
    problem answers the nonsense labels as surely as M answers the real ones, and faithfulness 1 on it means to have
    found a circuit that does so too.
    """
    draw = torch.Generator().manual_seed(seed)
    sets, splits = dict(problem.sets), dict(problem.splits)
    names: tuple[Split, ...] = ("train", "test")
    for name in names:
        split, prompts = splits[name], sets[name]
        chosen = torch.randperm(len(split), generator=draw)[: len(split) // 2].to(split.right.device)
        right, wrong, logits = split.right.clone(), split.wrong.clone(), split.plain_logits.clone()
        right[chosen], wrong[chosen] = split.wrong[chosen], split.right[chosen]
        logits[chosen, right[chosen]] = split.plain_logits[chosen, wrong[chosen]]
        logits[chosen, wrong[chosen]] = split.plain_logits[chosen, right[chosen]]
        splits[name] = replace(split, right=right, wrong=wrong, plain_logits=logits)
        sets[name] = replace(prompts, right=right, wrong=wrong)
    return replace(problem, sets=sets, splits=splits)


def _side(side: Side, prompts: Tensor) -> Side:
    roles = tuple(side.roles[index] for index in prompts.tolist())
    return replace(side, tokens=side.tokens[prompts], lengths=side.lengths[prompts], roles=roles)


def _split(split: SplitTensors, prompts: Tensor) -> SplitTensors:
    return SplitTensors(
        split.prefix[prompts],
        split.ids[prompts],
        split.rows[prompts],
        split.rows_by_group,
        tuple(None if error is None else error[prompts] for error in split.errors),
        split.lengths[prompts],
        split.right[prompts],
        split.wrong[prompts],
        split.plain_logits[prompts],
    )
