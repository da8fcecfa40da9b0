"""Methods side by side on the same tasks, schema ``circuit-tui/comparison/1``: every run, and what follows from it.

All that is derived (`tasks[].methods`) can be computed again from `tasks[].runs`. Medians and ranges are over seeds.
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
from circuit_tui.core.runs.frontier import area, chosen_at, frontier, held_out, nodes_needed
from circuit_tui.core.runs.plan import label
from circuit_tui.core.runs.record import RunPoint, RunRecord

SCHEMA: Final = "circuit-tui/comparison/1"
LEVELS = (0.8, 0.9, 0.95, 0.99)


class Spread(Part):
    """A number over seeds: median, smallest and largest."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median=float(statistics.median(values)), low=float(min(values)), high=float(max(values)))


class Needed(Part):
    """Nodes needed for a held-out score of at least `level`.

    `reached` counts the seeds that got there. A seed that did not counts as larger than any, so `median` is null where
    half of them or more did not, and `high` where any did not.
    """

    level: float
    reached: Count
    median: float | None
    low: Count | None
    high: Count | None

    @classmethod
    def over(cls, level: float, sizes: Sequence[int | None]) -> Needed:
        """Over the sizes of all seeds, None for one that did not get there."""
        found = sorted(size for size in sizes if size is not None)
        ranked: list[float] = [*map(float, found), *([float("inf")] * (len(sizes) - len(found)))]
        median = statistics.median(ranked)
        return cls(
            level=level,
            reached=len(found),
            median=median if median < float("inf") else None,
            low=found[0] if found else None,
            high=found[-1] if len(found) == len(sizes) else None,
        )


class Chosen(Part):
    """The circuit that the search prompts choose for `level`: the smallest whose train score is at least that."""

    level: float
    point: RunPoint | None


class SeedFrontier(Part):
    """One seed of one method: its frontier (chosen on the search prompts), and what it cost over the whole grid."""

    seed: int
    runs: Count
    points: tuple[RunPoint, ...]
    needed: dict[str, int | None]
    chosen: tuple[Chosen, ...]
    area: float
    seconds: float
    steps: Count


class BandPoint(Part):
    """Held-out faithfulness f of circuits with at most `size` nodes, and |1 - f|, over the seeds."""

    size: Count
    test: Spread
    error: Spread


class MethodPart(Part):
    """One method with its settings: each seed, and the spread over seeds. `band` begins where every seed has a circuit.

    `seconds` and `steps` are for one seed's whole grid of runs.
    """

    label: str
    method: str
    seeds: tuple[SeedFrontier, ...]
    band: tuple[BandPoint, ...]
    needed: tuple[Needed, ...]
    area: Spread
    seconds: Spread
    steps: Spread


class TaskPart(Part):
    """One subject (model, SAEs, prompts, ablation) with all methods that were run on it."""

    subject: Identity
    methods: tuple[MethodPart, ...]
    runs: tuple[RunRecord, ...]


class Refusal(Part):
    """A method that was not run on a task, and why."""

    task: str
    label: str
    reason: str


class Comparison(Part):
    """The file. `complete` is false where runs were planned that were not finished."""

    schema_: Annotated[Literal["circuit-tui/comparison/1"], Field(alias="schema")] = SCHEMA
    created: str
    complete: bool
    levels: tuple[float, ...]
    tasks: tuple[TaskPart, ...]
    refused: tuple[Refusal, ...]

    @classmethod
    def of(cls, records: Iterable[RunRecord], refused: Iterable[Refusal] = (), *, complete: bool) -> Comparison:
        """What follows from `records`. Those of one `Identity.comparable` are compared; stopped ones are left out."""
        by_subject: dict[Identity, list[RunRecord]] = {}
        for record in records:
            if not record.stopped:
                by_subject.setdefault(record.subject.comparable, []).append(record)
        tasks = tuple(_task(runs[0].subject, runs) for runs in by_subject.values())
        return cls(created=now(), complete=complete, levels=LEVELS, tasks=tasks, refused=tuple(refused))

    def data(self) -> dict[str, Any]:
        """The file's content as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def records(self) -> list[RunRecord]:
        """Every run of every task."""
        return [record for task in self.tasks for record in task.runs]


def _task(subject: Identity, records: list[RunRecord]) -> TaskPart:
    by_label: dict[str, list[RunRecord]] = {}
    for record in records:
        by_label.setdefault(label(record.spec), []).append(record)
    methods = tuple(_method(name, runs, subject.candidates) for name, runs in by_label.items())
    return TaskPart(subject=subject, methods=methods, runs=tuple(records))


def _method(name: str, records: list[RunRecord], candidates: int) -> MethodPart:
    seeds = tuple(
        _seed(seed, [record for record in records if record.spec.seed == seed], candidates)
        for seed in sorted({record.spec.seed for record in records})
    )
    first = max(seed.points[0].size if seed.points else candidates for seed in seeds)
    sizes = sorted({point.size for seed in seeds for point in seed.points if point.size >= first})
    return MethodPart(
        label=name,
        method=records[0].spec.method,
        seeds=seeds,
        band=tuple(_band(size, [held_out(seed.points, size) for seed in seeds]) for size in sizes),
        needed=tuple(Needed.over(level, [seed.needed[f"{level:g}"] for seed in seeds]) for level in LEVELS),
        area=Spread.over([seed.area for seed in seeds]),
        seconds=Spread.over([seed.seconds for seed in seeds]),
        steps=Spread.over([seed.steps for seed in seeds]),
    )


def _band(size: int, values: list[float]) -> BandPoint:
    return BandPoint(size=size, test=Spread.over(values), error=Spread.over([abs(1 - value) for value in values]))


def _seed(seed: int, records: list[RunRecord], candidates: int) -> SeedFrontier:
    points = frontier(point for record in records for point in record.points)
    return SeedFrontier(
        seed=seed,
        runs=len(records),
        points=points,
        needed={f"{level:g}": nodes_needed(points, level) for level in LEVELS},
        chosen=tuple(Chosen(level=level, point=chosen_at(points, level)) for level in LEVELS),
        area=area(points, candidates),
        seconds=sum(record.seconds for record in records),
        steps=sum(record.steps for record in records),
    )


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Writes the file atomically; returns its absolute path. Raises UserError as `text_file.write_text` does."""
    # Without line breaks: nodes are thousands of triples, and the file is written after every run.
    text = json.dumps(comparison.data(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return write_text(text + "\n", path)


def read_comparison(path: Path) -> Comparison:
    """Reads a comparison.

    Raises:
        UserError: missing, no comparison, of another schema, or damaged (the first wrong place is named).
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
