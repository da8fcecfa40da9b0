"""The searches of a session: what each has found, and the frontier of the last one with its intervals."""

from __future__ import annotations

from collections.abc import Mapping

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import FrontierPoint, Metrics, SearchResult

Interval = tuple[float, float]


class Searches:
    """The searches of `experiment`.

    Attributes:
        last: the current or last one; None before the first.
        past: what those found whose circuit was adopted, the oldest first.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self.last: Search | None = None
        self.past: tuple[SearchResult, ...] = ()
        self._intervals: dict[int, Interval | None] = {}
        self._left: list[int] = []
        self._under_way: tuple[int, Incremental[Metrics]] | None = None

    def begin(self, spec: SearchSpec) -> Search:
        """Returns a search that has not begun. Raises UserError if it cannot begin, or is not worth it."""
        experiment = self._experiment
        self.last = open_search(experiment.problem, experiment.train, experiment.test, spec)
        self._intervals, self._left, self._under_way = {}, [], None
        return self.last

    def adopted(self, result: SearchResult) -> None:
        """Notes what a search has found, once."""
        if not any(each is result for each in self.past):
            self.past = (*self.past, result)

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """Returns the frontier of the last search, ascending in size; empty before the first search."""
        return self.last.frontier() if self.last else ()

    def ask_intervals(self) -> None:
        """From now on `advance` computes the 95% intervals of the frontier's held-out faithfulness.

        Raises:
            UserError: there is no frontier, or its search is still under way.
        """
        if self.last is None:
            raise UserError("frontier: there is none before a search")
        if self.last.result is None:
            raise UserError("frontier: its intervals are computed when the search has ended")
        known = self._intervals
        self._left = [point.size for point in self.frontier() if point.test is not None and point.size not in known]

    def intervals(self) -> Mapping[int, Interval | None]:
        """Returns the intervals that are computed, by size; None for a point that has none (`Evaluator.interval`)."""
        return dict(self._intervals)

    def advance(self) -> bool:
        """Computes the next increment of the intervals that were asked for; returns whether there was one."""
        if self._under_way is None:
            if not self._left or self.last is None:
                return False
            point = self.last.circuit(self._left[0])
            if point is None:
                raise RuntimeError(f"the frontier has lost its circuit of {self._left[0]} nodes")
            self._under_way = self._left[0], self._experiment.test.evaluate(point.kept, completeness=False)
        size, evaluation = self._under_way
        try:
            next(evaluation)
        except StopIteration as end:
            self._intervals[size], self._under_way = end.value.faithfulness_interval, None
            self._left.remove(size)
        return True

    @property
    def done(self) -> bool:
        """Whether every interval that was asked for is computed."""
        return not self._left
