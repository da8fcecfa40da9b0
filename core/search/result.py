"""The end of every search: evaluates its circuit on both splits and its frontier on the test prompts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.runtime.incremental import Incremental, Value
from circuit_tui.core.search.frontier import EvaluatedCircuit, score, thinned
from circuit_tui.core.search.held_values import held_values
from circuit_tui.core.search.method import SearchMethod
from circuit_tui.core.search.within_resolution import smallest_within_resolution
from circuit_tui.core.views import FrontierPoint, HeldValue, Metrics, SearchProgress, SearchResult

# Train and test faithfulness further apart than this deserve a word: about three standard errors of 128 prompts.
GAP_WORTH_A_WARNING = 0.03
FRONTIER_POINTS = 40


def evaluate_result(
    attempt: SearchMethod[Any], test: Evaluator, *, circuit_only: bool, note: str
) -> Generator[SearchProgress, None, tuple[SearchProgress, SearchResult]]:
    """Evaluates the best circuit that `attempt` has offered; the circuit of all candidates if it has offered none.

    Where the target is missed, that is the smallest one that the search prompts do not tell from the closest to 1.

    Yields a report after each step. Returns the last report and the result.

    Args:
        attempt: the search, which has ended or been stopped.
        test: evaluates circuits on the held-out prompts.
        circuit_only: no frontier and no completeness: they would not be read.
        note: a warning for the result; empty for none.
    """
    best = attempt.offered.best or _offer_everything(attempt)
    if not attempt.stopped and not attempt.score_reaches(best.score):
        closest, smallest = best, Incremental(smallest_within_resolution(attempt, best))
        best = yield from _reported(attempt, smallest, closest.kept, 0.97, if_stopped=closest)
        note = " ".join(filter(None, (note, _smaller_note(attempt, closest, best))))
    kept = best.kept
    attempt.offered.latest = best.faithfulness
    frontier: list[FrontierPoint] = []
    if not circuit_only:
        live = LiveCircuit(test, kept)
        circuits = _frontier_up_to(attempt, best.size)[::-1]
        while circuits and not (attempt.stopped and frontier):
            means = live.evaluate_first_alternatives(torch.stack([circuit.kept for circuit in circuits])).result()
            for circuit, mean in zip(circuits, means, strict=False):
                held_out = test.baselines.faithfulness(mean)
                frontier.insert(0, FrontierPoint(circuit.size, circuit.faithfulness, held_out))
                yield attempt.progress("done", kept, 0.98)
            circuits = circuits[len(means) :]
    on_train = yield from _reported(attempt, attempt.train.evaluate(kept, not circuit_only), kept, 0.98)
    on_test = yield from _reported(attempt, test.evaluate(kept, not circuit_only), kept, 0.99)
    reached, held = attempt.score_reaches(best.score), tuple[HeldValue, ...]()
    if not attempt.judge.alone:
        values = held_values(attempt.judge, None if circuit_only else test, kept)
        held = yield from _reported(attempt, values, kept, 0.99)
    last, spec = attempt.progress("done", kept, 1.0), attempt.spec
    early_end = f"The search ended early with what it had, because {attempt.loops.diverged}; a smaller lr may help."
    notes = (early_end if attempt.loops.diverged else "", note, *attempt.notes)
    return last, SearchResult(
        method=spec.method,
        settings=dict(spec.settings),
        seed=spec.seed,
        target=spec.target,
        nodes=frozenset(kept.nonzero()[:, 0].tolist()),
        train=on_train,
        test=on_test,
        frontier=tuple(frontier),
        reached=reached,
        stopped=attempt.stop_requested and not attempt.loops.diverged,
        steps=attempt.meter.steps,
        seconds=attempt.meter.seconds,
        warnings=(*filter(None, notes), *result_warnings(on_train, on_test, spec.target, reached, held)),
        step_path=attempt.step_path,
        objectives=tuple((each.kind, each.target) for each in spec.objectives),
        ablations=spec.ablations,
        slack=spec.slack,
        templates=spec.templates,
        held=held,
    )


def _offer_everything(attempt: SearchMethod[Any]) -> EvaluatedCircuit:
    """Offers the circuit of all candidate nodes and returns it."""
    everything = torch.ones(len(attempt.problem.space), dtype=torch.bool)
    attempt.offer(everything, attempt.judge.judge(everything).result())
    assert attempt.offered.best is not None
    return attempt.offered.best


def _smaller_note(attempt: SearchMethod[Any], closest: EvaluatedCircuit, chosen: EvaluatedCircuit) -> str:
    """A sentence on the larger circuit that comes closer to 1; empty if there is none."""
    if chosen.size == closest.size:
        return ""
    return (
        f"A circuit of {closest.size} nodes comes closer, with {closest.faithfulness:.3f}; {len(attempt.train)} search "
        f"prompts do not tell it from this one of {chosen.size}."
    )


def _frontier_up_to(attempt: SearchMethod[Any], size: int) -> list[EvaluatedCircuit]:
    """At most `FRONTIER_POINTS` circuits of the frontier with at most `size` nodes."""
    return thinned([circuit for circuit in attempt.offered.frontier() if circuit.size <= size], FRONTIER_POINTS)


def _reported(
    attempt: SearchMethod[Any],
    evaluation: Incremental[Value],
    kept: Tensor,
    share_done: float,
    if_stopped: Value | None = None,
) -> Generator[SearchProgress, None, Value]:
    """The value of `evaluation` of the circuit `kept` `[node]` bool; yields a report after each of its increments.

    With `if_stopped` that is the value as soon as the user stops.
    """
    while True:
        if if_stopped is not None and attempt.stopped:
            return if_stopped
        try:
            next(evaluation)
        except StopIteration as end:
            value: Value = end.value
            return value
        yield attempt.progress("done", kept, share_done)


def result_warnings(
    train: Metrics, test: Metrics, target: float, reached: bool, held: Sequence[HeldValue] = ()
) -> list[str]:
    """What a reader of a circuit's numbers should be told, as whole sentences."""
    warnings = []
    missed = [value for value in held if not value.reached]
    if missed:
        each = ", ".join(
            f"{value.kind} under {value.ablation}{f' on {value.template}' if value.template else ''} is "
            f"{value.train:.3f} (target {value.target:g})"
            for value in missed
        )
        warnings.append(f"{len(missed)} of {len(held)} conditions were not reached on the search prompts: {each}.")
    elif not reached:
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
