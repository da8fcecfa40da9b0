"""What all searches share: they run step by step, can be stopped at any step, and end in a hard circuit."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.runtime.out_of_memory import free_cached, halve_prompts, is_out_of_memory
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.search.frontier import Found, score, thinned, undominated
from circuit_tui.core.search.method_settings import MethodSettings
from circuit_tui.core.search.resumable import Resumable
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import FrontierPoint, Metrics, SearchProgress, SearchResult, SearchStage

Steps = Generator[SearchProgress, None, None]
# Train and test faithfulness further apart than this deserve a word: about three standard errors of 128 prompts.
GAP_WORTH_A_WARNING = 0.03
FRONTIER_POINTS = 40
SHOWN_POINTS = 200
PATH_POINTS = 50


@dataclass(frozen=True, slots=True)
class SearchInput:
    """What a search is given. `train` is all it may look at; `test` is evaluated only once it has ended."""

    problem: Problem
    train: Evaluator
    test: Evaluator
    spec: SearchSpec
    circuit_only: bool = False  # nothing else will be read: no frontier on `test`, no completeness


class Search(Resumable):
    """An iterator over `SearchProgress`; each `next` is one short step. `result` is set when it has ended.

    A subclass writes `steps`, a generator that yields after every step, offers each hard circuit it evaluates to
    `offer` and leaves when `stopped` is set. It draws from `generator` alone and decides nothing by the clock: it can
    be run again after a crash. An optimisation runs in a `loop`, so that its steps need not be.
    """

    def __init__(self, given: SearchInput) -> None:
        super().__init__(torch.Generator().manual_seed(given.spec.seed))
        self.given = given
        self.problem, self.train, self.test = given.problem, given.train, given.test
        self.spec, self.target = given.spec, given.spec.target
        self.settings: MethodSettings = given.spec.parsed_settings()
        self.result: SearchResult | None = None
        self.mask_steps: list[int] = []
        self.mask_path: list[Tensor] = []
        self._started = time.monotonic()
        self._step = 0
        self._hard: float | None = None
        self._best: tuple[Tensor, float] | None = None
        self._points: dict[int, tuple[float, Tensor]] = {}
        self._shrunk, self._most = "", 0
        self._run = self._whole()

    @abstractmethod
    def steps(self) -> Steps:
        """The search itself."""

    def __iter__(self) -> Iterator[SearchProgress]:
        return self

    def __next__(self) -> SearchProgress:
        while True:
            try:
                with self._recalling():
                    return next(self._run)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error.with_traceback(None)  # it holds on to every tensor of the step
            self._shrink(failure)

    def _shrink(self, error: BaseException) -> None:
        """After a step without memory: runs the search again up to there, with half as many prompts in a pass.

        Where one prompt is too many, activations are no longer kept for the backward pass, and then as many prompts as
        in the beginning are tried again.
        """
        limit = self.problem.batch_size or max(len(batch) for batch in self.train.batches)
        most, recompute, what = self._most or limit, self.problem.recompute, f"the search ({self.spec.method})"
        if limit > 1 or recompute:
            size = halve_prompts(limit, what, error)
        else:
            size, recompute = most, True
            free_cached()
            user_log.warning("Out of memory: %s goes on without keeping activations for its gradients: slower.", what)
        self._loop = None  # in the middle of a step: it goes on from where it was last saved
        self.save()
        checkpoint, started, stopped = self._checkpoint, self._started, self.stopped
        problem = replace(self.problem, batch_size=size, recompute=recompute)
        self.__init__(replace(self.given, problem=problem))  # type: ignore[misc]
        self._started, self.stopped, self._most = started, stopped, most
        how = ", and computed activations again for every gradient" if recompute else ""
        self._shrunk = f"Memory ran out: the search went on with at most {size} prompts in one pass{how}."
        if checkpoint is not None:
            self.keep(checkpoint.folder)

    def stop(self) -> None:
        """Ends the search at its next step; it then returns the best circuit so far."""
        self.stopped = True

    def score(self, faithfulness: float) -> float:
        """1 - |1 - f|: overshooting is as wrong as falling short."""
        return score(faithfulness)

    def reaches(self, faithfulness: float) -> bool:
        """Whether a circuit of this faithfulness on the search prompts is good enough."""
        return self.reaches_score(self.score(faithfulness))

    def reaches_score(self, score: float) -> bool:
        """The same of a score."""
        return score >= self.target

    def offer(self, kept: Tensor, faithfulness: float) -> None:
        """Records the hard circuit `kept` `[node]` bool with its exact faithfulness on the search prompts."""
        size = int(kept.sum())
        self._hard = faithfulness
        known = self._points.get(size)
        if known is None or self.score(faithfulness) > self.score(known[0]):
            self._points[size] = (faithfulness, kept.clone())
        if self._best is None or self._rank(size, faithfulness) < self._rank(int(self._best[0].sum()), self._best[1]):
            self._best = (kept.clone(), faithfulness)

    def record_mask(self, step: int, n_steps: int, mask: Tensor) -> None:
        """Keeps the soft mask `[node]` of about `PATH_POINTS` of the steps, to be shown."""
        if step % max(1, n_steps // PATH_POINTS) == 0:
            self.mask_steps.append(step)
            self.mask_path.append(mask.detach().cpu())

    def progress(
        self,
        stage: SearchStage,
        kept: Tensor,
        share_done: float,
        *,
        loss: float | None = None,
        soft: float | None = None,
    ) -> SearchProgress:
        """One step's report; `share_done` in 0..1 is how much of the whole search is over."""
        self._step += 1
        if loss is not None:
            self._watch_loss(loss)
        seconds = time.monotonic() - self._started
        share = min(max(share_done, 1e-3), 1.0)
        left = seconds / share - seconds if share > 0.02 else None
        counts = self.problem.space.counts(kept)
        total = max(self._step, round(self._step / share))
        return SearchProgress(
            self.spec.method, stage, self._step, total, loss, soft, self._hard, sum(counts), counts, seconds, left
        )

    @property
    def best(self) -> tuple[Tensor, float] | None:
        """The circuit `[node]` bool that would be returned now and its faithfulness, None before the first offer."""
        return self._best

    def _state(self) -> dict[str, Any]:
        points = [(size, value, kept.nonzero()[:, 0]) for size, (value, kept) in self._points.items()]
        best = None if self._best is None else (self._best[0].nonzero()[:, 0], self._best[1])
        return {
            "step": self._step,
            "seconds": time.monotonic() - self._started,
            "hard": self._hard,
            "best": best,
            "points": points,
            "mask_steps": self.mask_steps,
            "mask_path": self.mask_path,
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        def circuit(nodes: Tensor) -> Tensor:
            return torch.zeros(len(self.problem.space), dtype=torch.bool).index_fill_(0, nodes, True)

        self._step, self._hard = state["step"], state["hard"]
        self._started = time.monotonic() - state["seconds"]
        self._best = None if state["best"] is None else (circuit(state["best"][0]), state["best"][1])
        self._points = {size: (value, circuit(nodes)) for size, value, nodes in state["points"]}
        self.mask_steps, self.mask_path = state["mask_steps"], state["mask_path"]

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """The circuits recorded so far of which no smaller one is closer to 1, about `SHOWN_POINTS` at most.

        Ascending in size, also beyond the size that would be returned. `test` is set where the result has it.
        """
        tested = {point.size: point.test for point in self.result.frontier} if self.result else {}
        points = undominated(self._points)
        shown = {size for size, _, _ in thinned(points, SHOWN_POINTS)} | set(tested)
        return tuple(FrontierPoint(size, f, tested.get(size)) for size, f, _ in points if size in shown)

    def circuit(self, size: int) -> tuple[Tensor, float] | None:
        """The best circuit `[node]` bool of that many nodes so far, and its faithfulness on the search prompts."""
        faithfulness, kept = self._points.get(size, (0.0, None))
        return None if kept is None else (kept, faithfulness)

    def _rank(self, size: int, faithfulness: float) -> tuple[int, float, float]:
        """Smaller is better: circuits that reach the target by size, then score; behind them all others by score."""
        score = self.score(faithfulness)
        return (0, size, -score) if self.reaches_score(score) else (1, -score, size)

    def _whole(self) -> Steps:
        yield from self.steps()
        if self._best is None:
            everything = torch.ones(len(self.problem.space), dtype=torch.bool)
            self.offer(everything, self.train.faithfulness(everything).result())
        assert self._best is not None
        kept, self._hard = self._best
        frontier: list[FrontierPoint] = []
        if whole := not self.given.circuit_only:
            live = LiveCircuit(self.test, kept)
            for size, faithfulness, circuit in reversed(self._frontier()):
                if self.stopped and frontier:
                    break
                held_out = self.test.baselines.faithfulness(live.evaluate_alternative(circuit).result())
                frontier.insert(0, FrontierPoint(size, faithfulness, held_out))
                yield self.progress("done", kept, 0.98)
        train = yield from self._reported(self.train.evaluate(kept, whole), kept, 0.98)
        test = yield from self._reported(self.test.evaluate(kept, whole), kept, 0.99)
        last = self.progress("done", kept, 1.0)
        self.result = self._result(kept, train, test, tuple(frontier))
        yield last

    def _reported(
        self, increments: Incremental[Metrics], kept: Tensor, share_done: float
    ) -> Generator[SearchProgress, None, Metrics]:
        """The value of a last evaluation of the circuit `kept`, each of its increments a step of the search."""
        while True:
            try:
                next(increments)
            except StopIteration as end:
                metrics: Metrics = end.value
                return metrics
            yield self.progress("done", kept, share_done)

    def _frontier(self) -> list[Found]:
        """At most `FRONTIER_POINTS` of the recorded circuits up to the best."""
        assert self._best is not None
        largest = int(self._best[0].sum())
        return thinned([point for point in undominated(self._points) if point[0] <= largest], FRONTIER_POINTS)

    def _result(self, kept: Tensor, train: Metrics, test: Metrics, frontier: tuple[FrontierPoint, ...]) -> SearchResult:
        reached = self.reaches(train.faithfulness)
        return SearchResult(
            method=self.spec.method,
            settings=self.settings.values(),
            seed=self.spec.seed,
            target=self.target,
            nodes=frozenset(kept.nonzero()[:, 0].tolist()),
            train=train,
            test=test,
            frontier=frontier,
            reached=reached,
            stopped=self.stopped and not self._diverged,
            steps=self._step,
            seconds=time.monotonic() - self._started,
            warnings=(
                *self._early_end(),
                *filter(None, [self._shrunk]),
                *result_warnings(train, test, self.target, reached),
            ),
        )


def result_warnings(train: Metrics, test: Metrics, target: float, reached: bool) -> list[str]:
    """What a reader of a circuit's numbers should be told, as whole sentences."""
    warnings = []
    if not reached:
        warnings.append(
            f"The target {target:.2f} was not reached: faithfulness on the search prompts is {train.faithfulness:.3f}."
        )
    if abs(train.faithfulness - test.faithfulness) > GAP_WORTH_A_WARNING:
        warnings.append(
            f"Train and test part: faithfulness is {train.faithfulness:.3f} on the search prompts and "
            f"{test.faithfulness:.3f} on held-out ones."
        )
    if reached and score(test.faithfulness) < target - GAP_WORTH_A_WARNING:
        warnings.append(f"On held-out prompts the circuit is off the target {target:.2f}.")
    if test.accuracy < 0.9:
        warnings.append(f"The circuit answers only {test.accuracy:.0%} of the held-out prompts rightly.")
    return warnings
