"""The circuit that an audit judges, with the problem it solves and how it was found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem


@dataclass(frozen=True, slots=True)
class AuditedCircuit:
    """The circuit `kept` `[node]` bool of `problem`, and everything that measures need.

    Attributes:
        unseen: evaluates prompts of a template that no search saw; None if the task has none.
        search: how the audit searches.
        target: the faithfulness that the circuit's own search had to reach; None if it was made by hand.
        edges: the edges that the circuit's file has; None if it has none.
        log: keeps what is measured; None if nothing is kept.
        parallel_searches: makes the searches in other processes; None if this process makes them.
    """

    problem: Problem
    kept: Tensor
    train: Evaluator
    test: Evaluator
    unseen: Evaluator | None
    search: SearchSpec
    target: float | None
    settings: AuditSettings
    edges: EdgesPart | None = None
    log: AuditLog | None = None
    parallel_searches: ParallelSearches | None = None

    @property
    def size(self) -> int:
        """The number of nodes of the circuit."""
        return int(self.kept.sum())
