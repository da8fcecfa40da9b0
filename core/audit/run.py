"""Runs an audit line by line, in steps so short that the caller can do other things in between."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from operator import mul

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import TITLES, AuditProgress, Finding, outcome
from circuit_tui.core.audit.lines import SEARCH_SECONDS, AuditLine, lines_of, searches_left
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.choices import Outcome
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.open_search import check_worth_searching


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit has found so far."""

    audited: AuditedCircuit
    findings: tuple[Finding, ...]
    finished: bool
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """What the lines say together."""
        return outcome(self.findings, finished=self.finished)


class Audit:
    """An audit under way; each `next` runs one step. It can be left at any time: `result` is what is known by then.

    Lines that the log of `audited` has are not measured again.
    """

    def __init__(self, audited: AuditedCircuit, lines: tuple[AuditLine, ...] | None = None) -> None:
        lines = lines_of(audited.settings) if lines is None else lines
        self.audited, self.lines = audited, lines
        self.findings: tuple[Finding, ...] = ()
        self._earlier = {} if audited.log is None else dict(audited.log.findings)
        self._started = time.monotonic() - (audited.log.seconds if audited.log else 0.0)
        self._weights = [_weight(audited, line) for line in lines]
        self._searches_left = searches_left(lines, audited)
        self._steps = self._run()

    def __iter__(self) -> Iterator[AuditProgress]:
        return self

    def __next__(self) -> AuditProgress:
        return next(self._steps)

    def leave(self) -> None:
        """Ends the audit here; the next audit of the same circuit goes on from what this one has kept."""
        self._steps.close()
        if self.audited.log is not None:
            self.audited.log.leave()

    def done(self) -> None:
        """Deletes what is kept, because the findings are stored elsewhere."""
        if self.audited.log is not None:
            self.audited.log.done()

    @property
    def n_resumed_lines(self) -> int:
        """The number of lines that the same audit had measured before it was cut off."""
        return sum(line.key in self._earlier for line in self.lines)

    @property
    def result(self) -> AuditResult:
        """What is known so far."""
        finished = len(self.findings) == len(self.lines)
        return AuditResult(self.audited, self.findings, finished, time.monotonic() - self._started)

    def _run(self) -> Generator[AuditProgress, None, None]:
        parallel_searches = self.audited.parallel_searches
        if parallel_searches is None:
            yield from self._measure_lines()
            return
        try:
            if self._reason_not_to_search() is None:
                parallel_searches.begin(self._searches_left)
            yield from self._measure_lines()
        finally:
            parallel_searches.close()

    def _measure_lines(self) -> Generator[AuditProgress, None, None]:
        for index, line in enumerate(self.lines):
            if line.key in self._earlier:
                self.findings += (self._earlier[line.key],)
                continue
            yield self._progress(index, 0.0)
            measurement, share = line.measure(self.audited), 0.0
            reason = self._reason_not_to_search() if line.searches(self.audited.settings) else None
            if reason is not None:
                self._add(Finding(line.key, "not measured", reason))
                continue
            while True:
                try:
                    reported = next(measurement)
                except StopIteration as end:
                    self._add(end.value)
                    break
                if self.audited.parallel_searches is not None:
                    self.audited.parallel_searches.poll()
                share = share if reported is None else reported
                yield self._progress(index, share)
        yield self._progress(len(self.lines), 0.0)

    def _add(self, finding: Finding) -> None:
        self.findings += (finding,)
        if self.audited.log is not None:
            self.audited.log.add_finding(finding, time.monotonic() - self._started)

    def _reason_not_to_search(self) -> str | None:
        """Returns a sentence if the problem is not worth searching, else None."""
        try:
            check_worth_searching(self.audited.problem, self.audited.train)
        except UserError as error:
            return f"There is nothing to search for: {error}."
        return None

    def _progress(self, index: int, share: float) -> AuditProgress:
        seconds = time.monotonic() - self._started
        shares = [1.0] * index + ([share] if index < len(self.lines) else [])
        shares += [0.0] * (len(self.lines) - len(shares))
        parallel_searches = self.audited.parallel_searches
        if parallel_searches is not None:
            searched = [self._share_searched(line, parallel_searches) for line in self.lines]
            shares = list(map(max, shares, searched))
        whole = sum(map(mul, shares, self._weights)) / sum(self._weights)
        title = TITLES[self.lines[index].key] if index < len(self.lines) else ""
        seconds_left = seconds / whole - seconds if whole > 0.01 else None
        searches = None if parallel_searches is None else parallel_searches.counts
        return AuditProgress(title, index, len(self.lines), whole, seconds, seconds_left, searches)

    def _share_searched(self, line: AuditLine, parallel_searches: ParallelSearches) -> float:
        """Returns the share 0..1 of the searches of `line` that is done."""
        searches = line.searches(self.audited.settings)
        shares = [parallel_searches.share(search) if search in self._searches_left else 1.0 for search in searches]
        return sum(shares) / len(shares) if shares else 0.0


def _weight(audited: AuditedCircuit, line: AuditLine) -> float:
    quick = 0.3 if audited.settings.quick else 1.0
    return line.weight + SEARCH_SECONDS * quick * len(line.searches(audited.settings))
