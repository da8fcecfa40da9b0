"""The record of one finished search: comparisons and sweeps are made of such records."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from circuit_tui.core.circuits.part import Part
from circuit_tui.core.circuits.schema import Count, MetricsPart, Versions
from circuit_tui.core.opening.identity import Identity
from circuit_tui.core.search.spec import SearchSpec


class RunMachine(Part):
    """The machine on which a search ran, without which its seconds mean nothing."""

    system: str
    device: str
    threads: int


class RunPoint(Part):
    """One hard circuit of a run: its size, and its faithfulness against M on search prompts and on held-out ones."""

    size: Count
    train: float
    test: float


class RunRecord(Part):
    """One finished search.

    Attributes:
        subject: what was searched.
        spec: how it was searched, with all settings of the method.
        reached: whether the target was reached on the search prompts.
        stopped: whether the search was stopped early; `points` then holds the last circuit alone.
        nodes: the returned circuit as (site, position, latent); site and position index those of the subject.
        points: the circuits on the way, ascending in size. All were chosen on the search prompts.
        steps: the number of progress reports.
        seconds: the wall time of the search, its last evaluation included.
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
        """The number of nodes of the returned circuit."""
        return len(self.nodes)
