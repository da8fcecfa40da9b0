"""One search and what came of it, as data that outlives the process: the unit of every comparison and sweep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from circuit_tui.core.circuits.part import Part
from circuit_tui.core.circuits.schema import Count, MetricsPart, Versions
from circuit_tui.core.opening.identity import Identity
from circuit_tui.core.search.spec import SearchSpec


class RunMachine(Part):
    """Where it ran, to read the seconds by."""

    system: str
    device: str
    threads: int


class RunPoint(Part):
    """One hard circuit of a run: its size and its faithfulness against M on the search and on the held-out prompts."""

    size: Count
    train: float
    test: float


class RunRecord(Part):
    """One finished search.

    Attributes:
        spec: how it searched, with all settings of the method.
        reached: whether the target was reached, on the search prompts.
        stopped: whether it was stopped early; `points` then holds the last circuit alone.
        nodes: the returned circuit as (site, position, latent); site and position number those of the subject.
        points: the circuits on the way, ascending in size. All were chosen on the search prompts.
        steps: progress reports; `seconds`: wall time of the search, its last evaluation included.
    """

    subject: Identity
    spec: SearchSpec
    reached: bool
    stopped: bool
    nodes: tuple[tuple[int, int, int], ...]
    train: MetricsPart
    test: MetricsPart
    points: tuple[RunPoint, ...]
    steps: Count
    seconds: Annotated[float, Field(ge=0)]
    warnings: tuple[str, ...]
    machine: RunMachine
    versions: Versions
    created: str

    @property
    def size(self) -> int:
        """Number of nodes of the returned circuit."""
        return len(self.nodes)
