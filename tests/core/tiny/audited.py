"""Circuits of tiny problems as the audit sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from naive import Naive, Node
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Task
from tiny.searched import QUICK


def audited(
    problem: Problem, kept: Tensor, method: str = "mask", target: float = 0.9, **settings: Any
) -> AuditedCircuit:
    """The circuit `kept` of `problem`, found for `target` by a quick search."""
    unseen = Evaluator(problem, "unseen") if "unseen" in problem.splits else None
    used = SearchSpec(method, target, 0, QUICK[method])
    train, test = Evaluator(problem, "train"), Evaluator(problem, "test")
    return AuditedCircuit(problem, kept, train, test, unseen, used, target, AuditSettings(**settings))


def found(measuring: Measuring) -> Finding:
    """Runs a measure to its end; its progress never falls and lies between 0 and 1."""
    told = 0.0
    while True:
        try:
            share = next(measuring)
        except StopIteration as end:
            finding: Finding = end.value
            return finding
        if share is not None:
            assert told <= share <= 1
            told = share


def nodes_kept(problem: Problem, *nodes: int) -> Tensor:
    """These nodes as `[node]` bool."""
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[list(nodes)] = True
    return kept


def with_unseen(task: Task) -> Task:
    """`task` with the second half of its test prompts moved to unseen."""
    test = task.split("test")
    unseen = test[len(test) // 2 :]
    return replace(task, pairs=tuple(replace(pair, split="unseen") if pair in unseen else pair for pair in task.pairs))


class Plainly:
    """Logit differences `[prompt]` float64, computed by the oracle one prompt at a time."""

    def __init__(self, naive: Naive) -> None:
        self.naive = naive

    def circuit(self, split: str, nodes: set[Node], *, invert: bool = False) -> Tensor:
        return self._each(split, lambda prompt: self.naive.kept(split, prompt, nodes, invert=invert))

    def plain(self, split: str) -> Tensor:
        pairs = self.naive.task.split(split)  # type: ignore[arg-type]
        return self._each(split, lambda prompt: self.naive.plain(pairs[prompt].clean)[0])

    def faithfulness(self, split: str, nodes: set[Node], *, invert: bool = False) -> float:
        m, empty = self.plain(split).mean(), self.circuit(split, set()).mean()
        return float((self.circuit(split, nodes, invert=invert).mean() - empty) / (m - empty))

    def _each(self, split: str, logits: Any) -> Tensor:
        count = len(self.naive.task.split(split))  # type: ignore[arg-type]
        rows = [self.naive.measure(split, prompt, logits(prompt))[0] for prompt in range(count)]
        return torch.tensor(rows, dtype=torch.float64)
