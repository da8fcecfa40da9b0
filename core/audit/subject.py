"""What is audited: a circuit, the problem it solves, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How much is measured. `seed` is of every draw, and the first of the searches' seeds.

    Attributes:
        bootstraps: resamplings of the prompts behind an interval.
        subsets: random subsets K of the circuit, and steps of the greedy one.
        draws: of resample ablation.
        random_circuits: circuits of the same size for each site.
        pairs: pairs of nodes tried for minimality, at most.
        seeds, resamplings, shuffles: searches with another seed, on resampled prompts, on shuffled labels; with 0 the
            line is not measured.
        quick: searches are made in haste: they see `QUICK_PROMPTS` of the search prompts, with `MethodSettings.quick`.
        text: whose cross-entropy the splice is priced on; None for none.
    """

    seed: int = 0
    bootstraps: int = 2000
    subsets: int = 10
    draws: int = 10
    random_circuits: int = 100
    pairs: int = 100
    seeds: int = 5
    resamplings: int = 5
    shuffles: int = 1
    quick: bool = False
    text: Path | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The circuit `kept` `[node]` bool of `problem`; `unseen` is None where the task has no such prompts.

    `target` is the faithfulness that the circuit was found to reach, None where it was made by hand; `search` is how
    the audit searches, each time with another seed. `log` is where what is measured is kept, None where nothing is;
    `parallel_searches` are other processes that make the searches, None where this one does.
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
        """How many nodes it has."""
        return int(self.kept.sum())
