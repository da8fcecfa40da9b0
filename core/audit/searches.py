"""Runs the search that found the circuit again, for the controls and the stability."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from circuit_tui.core.audit.altered_problem import problem_for, with_train
from circuit_tui.core.audit.audit_log import SearchLog
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, SearchRun, finite
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS, Evaluator
from circuit_tui.core.search.open_search import new_search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

QUICK_PROMPTS = 128
"""What a quick audit's searches see: a quarter of a built-in task's search prompts."""


def quick_word(subject: AuditedCircuit) -> str:
    """An adjective for the searches of an audit, and a space; empty where they are made like the circuit's own."""
    return "quick " if subject.settings.quick else ""


def run_search(subject: AuditedCircuit, search: AuditSearch) -> Generator[float | None, None, SearchRun]:
    """Makes one search of an audit. Yields the share that is done.

    One that an audit which was cut off had finished is not made again; one that another process makes is waited for.

    Raises:
        UserError: that process could not make it.
    """
    known = None if subject.log is None else subject.log.run(search)
    if known is not None:
        yield 1.0
        return known
    if subject.parallel_searches is not None:
        return (yield from subject.parallel_searches.run(search))
    searcher = Searcher(subject.problem, subject.train, subject.test, subject.search, subject.settings.quick)
    return (yield from searcher.run(search, None if subject.log is None else subject.log.searches))


@dataclass(frozen=True, slots=True)
class Searcher:
    """Makes the searches of an audit of `problem`: as the one `used`; on few prompts, up to its circuit, if `quick`."""

    problem: Problem
    train: Evaluator
    test: Evaluator
    used: SearchSpec
    quick: bool

    def run(self, search: AuditSearch, kept: SearchLog | None) -> Generator[float | None, None, SearchRun]:
        """Makes `search`; goes on with what is `kept` of it, and keeps what comes of it. Yields the share done."""
        problem, train, test = problem_for(self.problem, search), self.train, self.test
        if self.quick:
            order = torch.randperm(len(problem.splits["train"]), generator=torch.Generator().manual_seed(search.draw))
            problem = with_train(problem, order[:QUICK_PROMPTS])
        if problem is not self.problem:
            train, test = (Evaluator(problem, split, size=BATCH_PROMPTS, ready=False) for split in ("train", "test"))
            for evaluator in (train, test):
                yield from evaluator.prepare()
        found = new_search(problem, train, test, replace(self.used, seed=search.seed), circuit_only=True)
        share = 0.0  # a search corrects its estimate as it goes; what is told of it only grows
        for step in found if kept is None else kept.steps(found, search):
            if self.quick and step.stage == "frontier":
                found.stop()  # what is left is for smaller circuits that miss the target
            share = max(share, min(step.step / max(step.steps, 1), 1.0))
            yield share
        result = found.result
        assert result is not None  # a search that was not interrupted ends in one
        run = SearchRun(
            search.kind,
            search.seed,
            search.draw,
            len(result.nodes),
            finite(result.train.faithfulness),
            finite(result.test.faithfulness),
            result.reached,
            tuple(sorted(result.nodes)),
        )
        if kept is not None:
            kept.add_run(run)
        return run
