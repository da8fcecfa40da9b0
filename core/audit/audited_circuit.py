"""What an audit is of: a circuit, the problem it solves, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem


@dataclass(frozen=True, slots=True)
class AuditedCircuit:
    """The circuit `kept` `[node]` bool of `problem`.

    Attributes:
        unseen: evaluates prompts of a template that no search saw; None where the task has none.
        search: how searches are made.
        target: the faithfulness that the circuit was found to reach; None where it was made by hand.
        log: keeps what is measured; None where nothing is kept.
        parallel_searches: other processes that make the searches; None where this one does.
    """

    problem: Problem
    kept: Tensor
    train: Evaluator
    test: Evaluator
    unseen: Evaluator | None
    search: SearchSpec
    target: float | None
    settings: AuditSettings
    log: AuditLog | None = None
    parallel_searches: ParallelSearches | None = None

    @property
    def size(self) -> int:
        """The number of nodes of the circuit."""
        return int(self.kept.sum())
