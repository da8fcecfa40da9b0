"""The rows of the GPU benchmark: what each measures, its bound, what it was before steps were captured; the report.

A part of the benchmark appends an `Outcome` for each of its rows to a file. A row without one gets the reason why its
part ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NOT_ASKED_FOR = "not asked for"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: the row in a file.
        part: the part of the benchmark that measures it.
        what: the row for a reader.
        unit: of the number; ``x`` for how many times as fast.
        before: the number of 2026-11-27 on one H200 with torch 2.11, before steps were captured; None for none.
        bound: what is to be reached: at least that if the unit is ``x``, else at most.
    """

    name: str
    part: str
    what: str
    unit: str
    before: float | None
    bound: float

    def met(self, number: float) -> bool:
        """Whether `number` keeps the bound."""
        return number >= self.bound if self.unit == "x" else number <= self.bound


def _step(name: str, part: str, what: str, before: float | None, bound: float) -> Row:
    return Row(name, part, f"step, published / ours: {what}", "x", before, bound)


ROWS = (
    Row("demo-ready", "demo", "demo: the explorer ready to search", "s", 13.8, 8),
    Row("demo-search", "demo", "demo: default search of `ioi`", "s", 12, 3),
    Row("output", "demo", "terminal output during a search", "KB/s", 26.5, 5),
    _step("step-gpt2-small", "gpt2-small", "gpt2-small, 12 sites of 24k, all nodes active", 1.7, 10),
    _step("step-gpt2-small-few", "gpt2-small", "gpt2-small, 12 sites of 24k, 2,000 nodes active", None, 15),
    Row("waits-step", "gpt2-small", "host waits in a step, gpt2-small", "", 7, 0),
    Row("toggle-gpt2-small", "gpt2-small", "toggle of a node of the first site, 64 prompts, gpt2-small", "ms", 72, 10),
    Row("waits-toggle", "gpt2-small", "host waits in a toggle, gpt2-small", "", 92, 2),
    Row("search-gpt2-small", "gpt2-small", "whole search, published at one λ / ours: gpt2-small", "x", 0.9, 5),
    _step("step-gemma-2-2b", "gemma-2-2b", "gemma-2-2b, 3 sites of 16k", 2.0, 5),
    _step("step-gemma-2-9b", "gemma-2-9b", "gemma-2-9b, 4 sites of 16k", 2.2, 6),
    Row("floor-gemma-2-9b", "gemma-2-9b", "step of gemma-2-9b at 512 tokens", "times its floor", 9, 3),
    Row("toggle-gemma-2-9b", "gemma-2-9b", "toggle of a node of the first site, 64 prompts, gemma-2-9b", "ms", 80, 40),
    Row("effects-gemma-2-9b", "gemma-2-9b", "effects of 100 nodes on 64 prompts, gemma-2-9b", "s", 5, 1),
    _step("step-gemma-2-9b-131k", "gemma-2-9b", "gemma-2-9b, 4 sites of 131k", 3.0, 7),
    Row("search-gemma-2-9b", "gemma-2-9b", "whole search, published at one λ / ours: gemma-2-9b", "x", None, 5),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a part says of one row: a number, or why there is none; `details` are what the number was made of."""

    row: str
    number: float | None
    why_not: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def append_to(self, path: Path) -> None:
        """Adds it to a file of outcomes, as a line.

        Raises:
            ValueError: it has a number that is not finite.
        """
        if self.number is not None and not math.isfinite(self.number):
            raise ValueError(f"{self.row} is {self.number}")
        with path.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


@dataclass(frozen=True)
class PartRun:
    """How a part of the benchmark ended: after how many seconds, and why it did not end well; empty if it did."""

    seconds: float
    failure: str = ""


def outcomes(path: Path) -> dict[str, Outcome]:
    """The outcomes in a file, the first of each row; none if it does not exist. A line that was cut off is left out."""
    found = dict[str, Outcome]()
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            outcome = Outcome(**json.loads(line))
        except ValueError:
            continue
        found.setdefault(outcome.row, outcome)
    return found


def report(
    found: Mapping[str, Outcome], parts: Mapping[str, PartRun], *, rehearsed: bool = False
) -> list[dict[str, Any]]:
    """All rows for a file, each with a number or with why it has none; bounds do not apply to a rehearsal."""
    lines = []
    for row in ROWS:
        run = parts.get(row.part)
        missing = NOT_ASKED_FOR if run is None else run.failure or "its part did not get to it"
        outcome = found.get(row.name, Outcome(row.name, None, missing))
        number = outcome.number
        lines.append({
            "row": row.name, "what": row.what, "unit": row.unit, "before": row.before, "bound": row.bound,
            "number": number, "met": None if number is None or rehearsed else row.met(number),
            "why_not": outcome.why_not, "details": dict(outcome.details),
        })  # fmt: skip
    return lines


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """The report as a Markdown table."""
    shown = ["| what | before | bound | measured | met |", "|---|--:|--:|---|---|"]
    for line in lines:
        number = line["number"]
        measured = f"no number: {line['why_not']}" if number is None else with_unit(number, line["unit"])
        met = {None: "–", True: "yes", False: "no"}[line["met"]]
        before, bound = (with_unit(line[name], line["unit"]) for name in ("before", "bound"))
        shown.append(f"| {line['what']} | {before} | {bound} | {measured} | {met} |")
    return "\n".join(shown)


def with_unit(number: float | None, unit: str) -> str:
    """A number of the table as it is written, three digits of it."""
    if number is None:
        return "–"
    return f"{number:.3g}{'×' if unit == 'x' else f' {unit}'}".strip()
