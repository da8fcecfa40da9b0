"""The rows of the GPU benchmark, measured: steps, toggles, effects and whole searches on random weights."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from bare_layers import bare_pass
from device_peak import count, elapsed, measured_peak, synchronise
from gpu_table import Outcome
from host_waits import host_waits
from in_turn import Runs
from published import Recipe
from search_step import NotAStep, SearchStep
from shapes import CARRIED, PASS, SHAPES, random_model, random_problem, random_sites, template_tokens
from speed import needed
from whole_search import whole_search

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.models.devices import pick_dtype
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.runtime.device_memory import free_memory
from circuit_tui.core.session.circuit_numbers import CircuitNumbers
from circuit_tui.core.splice.problem import Problem

EXPECTED = (UserError, RuntimeError, MemoryError, OSError, ArithmeticError, ImportError)
"""What may go wrong in a row without ending its part; a mistake of the benchmark itself ends it."""


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        shapes: the shape that stands for each of those of the table.
        active: active nodes of a step with few.
        nodes: nodes of the circuit whose nodes are toggled and whose effects are computed.
        rounds, steps: rounds of a measurement of steps, and steps of ours in each.
        published: steps of the recipe in each round.
        search: prompts, their length, optimisation steps, steps of the recipe, and the longest time of a search.
        task: of the demo.
    """

    shapes: dict[str, str]
    dtype: str = "bfloat16"
    prompts: int = 32
    length: int = 16
    test: int = 64
    active: int = 2000
    nodes: int = 100
    rounds: int = 4
    steps: int = 4
    published: int = 2
    search: tuple[int, int, int, int, float] = (16, 10, 300, 10, 45.0)
    task: str = "ioi"


@dataclass(frozen=True)
class Rows:
    """Where a part writes its rows."""

    path: Path

    def add(self, row: str, number: float | None, why_not: str = "", **details: Any) -> None:
        """Writes a row, and says it."""
        Outcome(row, number, why_not, details).append_to(self.path)
        print(f"  {row}: {why_not or f'{number:.4g}'}", file=sys.stderr, flush=True)

    def add_waits(self, row: str, run: Callable[[], object], times: int, device: torch.device) -> None:
        """Counts how often the host waits in `run`, and writes the row."""
        waits, kinds = host_waits(run, times, device)
        self.add(row, waits, **kinds)

    @contextmanager
    def attempt(self, *names: str) -> Iterator[None]:
        """Within this block the rows `names` are measured; if that fails, why it did is written for each."""
        try:
            yield
        except EXPECTED as error:
            for name in names:
                self.add(name, None, f"{type(error).__name__}: {first_line(error)}")


class Shaped:
    """A model with random weights, and problems with it.

    Attributes:
        model: the model of the shape.
    """

    model: LanguageModel

    def __init__(self, name: str, scale: Scale, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self._fits(scale.shapes[name])
        self.model = random_model(SHAPES[scale.shapes[name]], device, pick_dtype(scale.dtype))

    def problem(self, name: str, prompts: int, length: int, carried: float = 0.0) -> Problem:
        """A problem with the SAEs of the shape `name`; `carried` as in `random_sites`."""
        shape, vocabulary = SHAPES[self.scale.shapes[name]], int(self.model.bridge.cfg.d_vocab)
        tokens = template_tokens(4 * PASS if carried else PASS, length, vocabulary).to(self.device)
        torch.manual_seed(1)
        sites = random_sites(self.model, shape, tokens, carried)
        made = random_problem(shape, prompts, length, self.scale.test, self.model, sites)
        return replace(made, batch_size=None)

    def _fits(self, name: str) -> None:
        """Raises MemoryError if the shape is larger than what is free."""
        free, takes = free_memory(self.device), needed(name, pick_dtype(self.scale.dtype), self.scale.prompts)
        if free is not None and takes > free:
            raise MemoryError(f"{name} takes {takes / 1e9:.0f} GB, {free / 1e9:.0f} GB are free")


def step_seconds(step: SearchStep, others: Runs, scale: Scale) -> dict[str, list[float]]:
    """Seconds of a step and of each of the others, in turn, for each round after one that warms up.

    The steps of a round follow one another as in a search: only after the last is the device waited for.
    """
    found: dict[str, list[float]] = {"step": [], **{name: [] for name in others}}
    for round_ in range(scale.rounds + 1):
        step.prepare(scale.steps)
        first = step.next_step()
        seconds = {"step": elapsed(step, step.device, times=scale.steps)}
        if (taken := step.next_step() - first) != scale.steps:
            raise NotAStep(f"the search holds {taken} of {scale.steps} steps: its mask is not finite")
        seconds |= {name: elapsed(run, step.device, times=scale.published) for name, run in others.items()}
        for name, value in seconds.items() if round_ else ():
            found[name].append(value)
    return found


def steps(rows: Rows, row: str, problem: Problem, scale: Scale, active: int | None = None) -> float | None:
    """Measures how many times as fast as the recipe a step is; returns its seconds, None if that failed."""
    with rows.attempt(row):
        step = SearchStep(problem, active)
        others: Runs = {"published": Recipe(problem).step, "bare": bare_pass(problem, "train", True)}
        seconds = step_seconds(step, others, scale)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        rows.add(
            row, medians["published"] / medians["step"], path=step.path, active=step.active(),
            candidates=len(problem.space), loss=step.loss,
            step_ms_of_rounds=[1e3 * value for value in seconds["step"]],
            **{f"{name}_ms": 1e3 * value for name, value in medians.items()},
        )  # fmt: skip
        return medians["step"]
    return None


def floor(rows: Rows, row: str, problem: Problem, step: float | None) -> None:
    """Says how many times its floor a step of `step` seconds takes: what the layers after the first site must compute.

    The floor is the time of their matrix products and bytes, forward and backward, at the rates that large products
    and copies reach in this process.
    """
    if step is None:
        rows.add(row, None, "the step was not measured")
        return
    with rows.attempt(row):
        device, work = problem.model.device, count(bare_pass(problem, "train", True))
        peak = measured_peak(device, "wall", tuple(work.flops))
        least, binds = peak.bound(work)
        rows.add(
            row, step / least, floor_ms=1e3 * least, step_ms=1e3 * step, binds=binds, bandwidth=peak.bandwidth,
            flops={str(dtype)[6:]: {"done": done, "rate": peak.flops[dtype]} for dtype, done in work.flops.items()},
        )  # fmt: skip


def circuit_numbers(problem: Problem, nodes: int) -> CircuitNumbers:
    """The numbers of a circuit of `nodes` random nodes, spread evenly over the sites, as the explorer has them."""
    per_site = -(-nodes // len(problem.sites))
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    draw = torch.Generator().manual_seed(2)
    for site in range(len(problem.sites)):
        here = torch.arange(len(kept))[problem.space.of_site(site)]
        chosen = here[torch.randperm(len(here), generator=draw)[:per_site]]
        kept[chosen[: nodes - int(kept.sum())]] = True
    return CircuitNumbers(Evaluator(problem, "test"), Evaluator(problem, "train"), kept, time.perf_counter)


def toggles(rows: Rows, row: str, waits_row: str, numbers: CircuitNumbers, problem: Problem, scale: Scale) -> None:
    """Measures a toggle of a node of the first site, until every number of the new circuit is exact, and its waits."""
    first = problem.space.of_site(0)
    own = [node for node in numbers.kept.nonzero()[:, 0].tolist() if first.start <= node < first.stop]
    turn = 0

    def toggle() -> None:
        nonlocal turn
        changed = numbers.kept.clone()
        node = own[turn % len(own)]
        changed[node] = not changed[node]
        turn += 1
        numbers.follow(changed)
        numbers.be_exact()

    device = problem.model.device
    seconds = [elapsed(toggle, device) for _ in range(3 * scale.rounds + 2)][2:]  # the first warm up
    rows.add(
        row, 1e3 * statistics.median(seconds), largest_ms=1e3 * max(seconds), prompts=scale.test,
        nodes=int(numbers.kept.sum()), toggled=len(own),
    )  # fmt: skip
    if waits_row:
        rows.add_waits(waits_row, toggle, scale.rounds, device)


def effects(rows: Rows, row: str, numbers: CircuitNumbers, device: torch.device, scale: Scale) -> None:
    """Measures the effects of all nodes of the circuit, once warm: the second time, after a toggle of one and back."""
    for _ in range(2):
        kept = numbers.kept.clone()
        node = int(kept.nonzero()[0, 0])
        without = kept.clone()
        without[node] = False
        for circuit in (without, kept):
            numbers.follow(circuit)
            numbers.be_exact()
        while numbers.train is None:  # the increment that ends the train numbers begins with the effects
            synchronise(device)
            start = time.perf_counter()
            numbers.advance()
        numbers.complete()
        synchronise(device)
        seconds = time.perf_counter() - start
    rows.add(row, seconds, nodes=len(numbers.effects), prompts=scale.test)


def search(rows: Rows, row: str, shaped: Shaped, name: str, scale: Scale) -> None:
    """Measures a whole search against the recipe at one lambda; no ratio if it was none."""
    prompts, length, n_steps, recipe_steps, limit = scale.search
    with rows.attempt(row):
        problem = shaped.problem(name, prompts, length, CARRIED)
        found = whole_search(problem, n_steps, recipe_steps, limit=limit)
        number = None if found["why_not"] else found["published"] / found["ours"]
        rows.add(row, number, **found)
