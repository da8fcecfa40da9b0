"""Runs an audit line by line, in slices short enough that whoever runs it can do other things in between."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from operator import mul

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import TITLES, AuditProgress, Finding, outcome
from circuit_tui.core.audit.lines import LINES, SEARCH_SECONDS, Line, searches_left
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.choices import Outcome
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.open_search import check_worth_searching


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found, as far as it came."""

    subject: AuditedCircuit
    findings: tuple[Finding, ...]
    finished: bool
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """What the lines say together."""
        return outcome(self.findings, finished=self.finished)


class Audit:
    """An audit under way; each `next` is one slice. It can be left at any time: `result` is what is known by then.

    What the subject's `log` already has is not measured again.
    """

    def __init__(self, subject: AuditedCircuit, lines: tuple[Line, ...] = LINES) -> None:
        self.subject, self.lines = subject, lines
        self.findings: tuple[Finding, ...] = ()
        self._known = {} if subject.log is None else dict(subject.log.findings)
        self._started = time.monotonic() - (subject.log.seconds if subject.log else 0.0)
        self._weights = [_weight(subject, line) for line in lines]
        self._left = searches_left(lines, subject)
        self._run = self._measure()

    def __iter__(self) -> Iterator[AuditProgress]:
        return self

    def __next__(self) -> AuditProgress:
        return next(self._run)

    def leave(self) -> None:
        """Ends it here; the next audit of the same goes on from what is kept of this one."""
        self._run.close()
        if self.subject.log is not None:
            self.subject.log.leave()

    def done(self) -> None:
        """What it found is written down: nothing is kept any longer."""
        if self.subject.log is not None:
            self.subject.log.done()

    @property
    def taken_up(self) -> int:
        """How many lines an earlier audit of the same had measured."""
        return sum(line.key in self._known for line in self.lines)

    @property
    def result(self) -> AuditResult:
        """What is known so far."""
        finished = len(self.findings) == len(self.lines)
        return AuditResult(self.subject, self.findings, finished, time.monotonic() - self._started)

    def _measure(self) -> Generator[AuditProgress, None, None]:
        parallel_searches = self.subject.parallel_searches
        if parallel_searches is None:
            yield from self._lines()
            return
        try:
            if self._refusal() is None:
                parallel_searches.begin(self._left)
            yield from self._lines()
        finally:
            parallel_searches.close()

    def _lines(self) -> Generator[AuditProgress, None, None]:
        for index, line in enumerate(self.lines):
            if line.key in self._known:
                self.findings += (self._known[line.key],)
                continue
            yield self._progress(index, 0.0)
            measuring, share = line.measure(self.subject), 0.0
            refused = self._refusal() if line.searches(self.subject.settings) else None
            if refused is not None:
                self._add(Finding(line.key, "not measured", refused))
                continue
            while True:
                try:
                    told = next(measuring)
                except StopIteration as end:
                    self._add(end.value)
                    break
                if self.subject.parallel_searches is not None:
                    self.subject.parallel_searches.attend()
                share = share if told is None else told
                yield self._progress(index, share)
        yield self._progress(len(self.lines), 0.0)

    def _add(self, finding: Finding) -> None:
        self.findings += (finding,)
        if self.subject.log is not None:
            self.subject.log.add_finding(finding, time.monotonic() - self._started)

    def _refusal(self) -> str | None:
        """Why searches would be none."""
        try:
            check_worth_searching(self.subject.problem, self.subject.train)
        except UserError as error:
            return f"There is nothing to search for: {error}."
        return None

    def _progress(self, index: int, share: float) -> AuditProgress:
        seconds = time.monotonic() - self._started
        shares = [1.0] * index + ([share] if index < len(self.lines) else [])
        shares += [0.0] * (len(self.lines) - len(shares))
        parallel_searches = self.subject.parallel_searches
        if parallel_searches is not None:
            made = [self._made(line, parallel_searches) for line in self.lines]
            shares = list(map(max, shares, made))
        whole = sum(map(mul, shares, self._weights)) / sum(self._weights)
        title = TITLES[self.lines[index].key] if index < len(self.lines) else ""
        left = seconds / whole - seconds if whole > 0.01 else None
        searches = None if parallel_searches is None else parallel_searches.counts
        return AuditProgress(title, index, len(self.lines), whole, seconds, left, searches)

    def _made(self, line: Line, parallel_searches: ParallelSearches) -> float:
        """How much of the searches of `line` is done."""
        searches = line.searches(self.subject.settings)
        shares = [parallel_searches.share(search) if search in self._left else 1.0 for search in searches]
        return sum(shares) / len(shares) if shares else 0.0


def _weight(subject: AuditedCircuit, line: Line) -> float:
    quick = 0.3 if subject.settings.quick else 1.0
    return line.weight + SEARCH_SECONDS * quick * len(line.searches(subject.settings))
