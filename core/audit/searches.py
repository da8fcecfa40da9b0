"""Makes the searches of an audit: the circuit's own search with another seed, prompts, labels or dictionaries."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from circuit_tui.core.audit.altered_problem import DICTIONARY, altered_problem, with_train_prompts
from circuit_tui.core.audit.audit_log import SearchLog
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, SearchRun, finite
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS, Evaluator
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split

SEARCHED: tuple[Split, Split] = ("train", "test")
QUICK_PROMPTS = 128
"""Search prompts that a quick audit's searches see: a quarter of a built-in task's search prompts."""


def quick_adjective(audited: AuditedCircuit) -> str:
    """Returns "quick " for a quick audit, to stand before the word searches; else an empty string."""
    return "quick " if audited.settings.quick else ""


def run_search(audited: AuditedCircuit, search: AuditSearch) -> Generator[float | None, None, SearchRun]:
    """Makes one search of an audit and returns its run; yields the share that is done.

    A search that was finished before the audit was cut off is not made again. If another process makes the search, this
    waits for it.

    Raises:
        UserError: the other process could not make it.
    """
    earlier = None if audited.log is None else audited.log.run(search)
    if earlier is not None:
        yield 1.0
        return earlier
    if audited.parallel_searches is not None:
        return (yield from audited.parallel_searches.run(search))
    searcher = Searcher(audited.problem, audited.train, audited.test, audited.search, audited.settings.quick)
    return (yield from searcher.run(search, None if audited.log is None else audited.log.searches))


@incremental
def evaluators(problem: Problem) -> Increments[tuple[Evaluator, Evaluator]]:
    """Returns evaluators of the search prompts and of the held-out ones of an altered problem."""
    train, test = (Evaluator(problem, split, size=BATCH_PROMPTS, prepared=False) for split in SEARCHED)
    yield from train.prepare()
    yield from test.prepare()
    return train, test


@dataclass(frozen=True, slots=True)
class Searcher:
    """Makes searches as `spec` says. If `quick`, they see few prompts and end with their circuit, without frontier."""

    problem: Problem
    train: Evaluator
    test: Evaluator
    spec: SearchSpec
    quick: bool

    def run(self, search: AuditSearch, log: SearchLog | None) -> Generator[float | None, None, SearchRun]:
        """Makes `search`, from where `log` has it, and keeps its run there; yields the share done."""
        problem, train, test = altered_problem(self.problem, search), self.train, self.test
        if self.quick:
            order = torch.randperm(len(problem.splits["train"]), generator=torch.Generator().manual_seed(search.draw))
            problem = with_train_prompts(problem, order[:QUICK_PROMPTS])
        if problem is not self.problem:
            train, test = yield from evaluators(problem)
        made = Search(problem, train, test, replace(self.spec, seed=search.seed), circuit_only=True)
        share = 0.0  # a search corrects its estimate as it goes; the share that is reported never falls
        for step in made if log is None else log.steps(made, search):
            if self.quick and step.stage == "frontier":
                made.stop()  # the rest would look for smaller circuits that miss the target
            share = max(share, min(step.step / max(step.steps, 1), 1.0))
            yield share
        result = made.result
        assert result is not None  # a search that was not interrupted ends in one
        run = SearchRun(
            search.kind,
            search.seed,
            search.draw,
            len(result.nodes),
            finite(result.train.faithfulness),
            finite(result.test.faithfulness),
            result.reached,
            # Nodes of other dictionaries are not nodes of the circuit's problem.
            () if search.kind.startswith(DICTIONARY) else tuple(sorted(result.nodes)),
        )
        if log is not None:
            log.add_run(run)
        return run
