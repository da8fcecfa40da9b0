"""A comparison of methods on the same tasks, schema ``circuit-tui/comparison/1``: all runs, and what follows from them.

Everything derived (`tasks[].methods`) can be computed again from `tasks[].runs`. Medians and ranges are over seeds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from circuit_tui.core.atomic_file import read_text, write_text
from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.circuits.part import Part
from circuit_tui.core.circuits.schema import Count
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.identity import Identity
from circuit_tui.core.runs.frontier import area, chosen_for_level, frontier, held_out_faithfulness, nodes_needed
from circuit_tui.core.runs.plan import method_label
from circuit_tui.core.runs.record import RunPoint, RunRecord

SCHEMA: Final = "circuit-tui/comparison/1"
LEVELS = (0.8, 0.9, 0.95, 0.99)


class SeedRange(Part):
    """A number over seeds: median, smallest and largest."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> SeedRange:
        """Returns the range of at least one value."""
        return cls(median=float(statistics.median(values)), low=float(min(values)), high=float(max(values)))


class NodesNeeded(Part):
    """The nodes needed for a held-out score of at least `level`.

    `reached` counts the seeds that reach the level. Any other seed counts as larger than all sizes: `median` is null if
    half of the seeds or more do not reach it, and `high` if any does not.
    """

    level: float
    reached: Count
    median: float | None
    low: Count | None
    high: Count | None

    @classmethod
    def over(cls, level: float, sizes: Sequence[int | None]) -> NodesNeeded:
        """Returns the nodes needed over `sizes`, one for each seed; None for a seed that does not reach the level."""
        reached = sorted(size for size in sizes if size is not None)
        ranked: list[float] = [*map(float, reached), *([float("inf")] * (len(sizes) - len(reached)))]
        median = statistics.median(ranked)
        return cls(
            level=level,
            reached=len(reached),
            median=median if median < float("inf") else None,
            low=reached[0] if reached else None,
            high=reached[-1] if len(reached) == len(sizes) else None,
        )


class ChosenCircuit(Part):
    """The circuit that the search prompts choose for `level`: the smallest with at least that train score."""

    level: float
    point: RunPoint | None


class SeedFrontier(Part):
    """One seed of one method: its frontier, chosen on the search prompts, and the cost of its whole grid of runs."""

    seed: int
    runs: Count
    points: tuple[RunPoint, ...]
    needed: dict[str, int | None]
    chosen: tuple[ChosenCircuit, ...]
    area: float
    seconds: float
    steps: Count


class BandPoint(Part):
    """Held-out faithfulness f of circuits with at most `size` nodes, and |1 - f|, over the seeds."""

    size: Count
    test: SeedRange
    error: SeedRange


class MethodComparison(Part):
    """One method with its settings: each seed, and ranges over seeds. `band` begins where every seed has a circuit.

    `seconds` and `steps` are for one seed's whole grid of runs.
    """

    label: str
    method: str
    seeds: tuple[SeedFrontier, ...]
    band: tuple[BandPoint, ...]
    needed: tuple[NodesNeeded, ...]
    area: SeedRange
    seconds: SeedRange
    steps: SeedRange


class TaskComparison(Part):
    """One subject (model, SAEs, prompts, ablation) and all methods that ran on it."""

    subject: Identity
    methods: tuple[MethodComparison, ...]
    runs: tuple[RunRecord, ...]


class RefusedMethod(Part):
    """A method that did not run on a task, and the reason."""

    task: str
    label: str
    reason: str


class Comparison(Part):
    """The comparison as its file holds it. `complete` is false if planned runs were not finished."""

    schema_: Annotated[Literal["circuit-tui/comparison/1"], Field(alias="schema")] = SCHEMA
    created: str
    complete: bool
    levels: tuple[float, ...]
    tasks: tuple[TaskComparison, ...]
    refused: tuple[RefusedMethod, ...]

    @classmethod
    def of(cls, records: Iterable[RunRecord], refused: Iterable[RefusedMethod] = (), *, complete: bool) -> Comparison:
        """Compares the `records` that have the same `Identity.comparable`; stopped runs are left out.

        Token ids do not tell subjects apart if an earlier version wrote some of the records, without their hash.
        """
        by_subject: dict[Identity, list[RunRecord]] = {}
        ended = [record for record in records if not record.stopped]
        hashed = all(record.subject.tokens_sha256 for record in ended)
        for record in ended:
            subject = record.subject.comparable
            by_subject.setdefault(subject if hashed else subject.without_tokens, []).append(record)
        tasks = tuple(_compare_task(runs[0].subject, runs) for runs in by_subject.values())
        return cls(created=now(), complete=complete, levels=LEVELS, tasks=tasks, refused=tuple(refused))

    def data(self) -> dict[str, Any]:
        """Returns the file's content as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def records(self) -> list[RunRecord]:
        """All runs of all tasks."""
        return [record for task in self.tasks for record in task.runs]


def _compare_task(subject: Identity, records: list[RunRecord]) -> TaskComparison:
    by_label: dict[str, list[RunRecord]] = {}
    for record in records:
        by_label.setdefault(method_label(record.spec), []).append(record)
    methods = tuple(_compare_method(name, runs, subject.candidates) for name, runs in by_label.items())
    return TaskComparison(subject=subject, methods=methods, runs=tuple(records))


def _compare_method(name: str, records: list[RunRecord], candidates: int) -> MethodComparison:
    seeds = tuple(
        _seed_frontier(seed, [record for record in records if record.spec.seed == seed], candidates)
        for seed in sorted({record.spec.seed for record in records})
    )
    first = max(seed.points[0].size if seed.points else candidates for seed in seeds)
    sizes = sorted({point.size for seed in seeds for point in seed.points if point.size >= first})
    return MethodComparison(
        label=name,
        method=records[0].spec.method,
        seeds=seeds,
        band=tuple(_band_point(size, [held_out_faithfulness(seed.points, size) for seed in seeds]) for size in sizes),
        needed=tuple(NodesNeeded.over(level, [seed.needed[f"{level:g}"] for seed in seeds]) for level in LEVELS),
        area=SeedRange.over([seed.area for seed in seeds]),
        seconds=SeedRange.over([seed.seconds for seed in seeds]),
        steps=SeedRange.over([seed.steps for seed in seeds]),
    )


def _band_point(size: int, values: list[float]) -> BandPoint:
    return BandPoint(size=size, test=SeedRange.over(values), error=SeedRange.over([abs(1 - value) for value in values]))


def _seed_frontier(seed: int, records: list[RunRecord], candidates: int) -> SeedFrontier:
    points = frontier(point for record in records for point in record.points)
    return SeedFrontier(
        seed=seed,
        runs=len(records),
        points=points,
        needed={f"{level:g}": nodes_needed(points, level) for level in LEVELS},
        chosen=tuple(ChosenCircuit(level=level, point=chosen_for_level(points, level)) for level in LEVELS),
        area=area(points, candidates),
        seconds=sum(record.seconds for record in records),
        steps=sum(record.steps for record in records),
    )


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Writes the file atomically; returns its absolute path. Raises UserError as `write_text` does."""
    # No line breaks: nodes are thousands of triples, and the file is written after every run.
    text = json.dumps(comparison.data(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return write_text(text + "\n", path)


def read_comparison(path: Path) -> Comparison:
    """Reads a comparison.

    Raises:
        UserError: the file is missing, no comparison, of another schema, or damaged (the first wrong place is named).
    """
    text = read_text(path, "comparison")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise UserError(f"{path}: not a comparison: its schema is {found!r}, this version reads {SCHEMA!r}")
    try:
        return Comparison.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}") from error
