"""Circuits of tiny problems for audits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from naive import Naive, Node
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Task
from tiny.searches import QUICK


def audited_circuit(
    problem: Problem, kept: Tensor, method: str = "mask", target: float = 0.9, **settings: Any
) -> AuditedCircuit:
    """Returns the circuit `kept` of `problem` for an audit, as if a quick search for `target` had found it."""
    unseen = Evaluator(problem, "unseen") if "unseen" in problem.splits else None
    spec = SearchSpec(method, target, 0, QUICK[method])
    train, test = Evaluator(problem, "train"), Evaluator(problem, "test")
    return AuditedCircuit(problem, kept, train, test, unseen, spec, target, AuditSettings(**settings))


def finding_of(measurement: Measurement) -> Finding:
    """Runs a measure to its end and returns its finding; checks that its shares lie in 0..1 and never fall."""
    greatest = 0.0
    while True:
        try:
            share = next(measurement)
        except StopIteration as end:
            finding: Finding = end.value
            return finding
        if share is not None:
            assert greatest <= share <= 1
            greatest = share


def nodes_kept(problem: Problem, *nodes: int) -> Tensor:
    """Returns the circuit of these nodes, `[node]` bool."""
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[list(nodes)] = True
    return kept


def with_unseen(task: Task) -> Task:
    """Returns `task` with the second half of its test prompts moved to the split ``unseen``."""
    test = task.split("test")
    unseen = test[len(test) // 2 :]
    return replace(task, pairs=tuple(replace(pair, split="unseen") if pair in unseen else pair for pair in task.pairs))


class Oracle:
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
