"""One search and what came of it, as data that outlives the process: the unit of every comparison and sweep."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.circuits.schema import AblationPart, Count, MetricsPart, Part, Sha256, Sha256OrNone, Versions
from circuit_tui.core.search.spec import SearchSpec


class SubjectSite(Part):
    """A hook with the SAE that was spliced in there."""

    hook: str
    sae: str
    weights_sha256: Sha256OrNone


class Subject(Part):
    """What was searched: model, SAEs, prompts, nodes and ablation.

    `candidates` counts the candidate nodes; `positions` names the positions that nodes refer to by number.
    """

    model: str
    model_sha256: Sha256OrNone
    dtype: str
    task: str
    prompts_sha256: Sha256
    positions_kind: PositionsKind
    positions: tuple[str, ...]
    sites: tuple[SubjectSite, ...]
    ablation: AblationPart
    candidates: Count
    n_train: Count
    n_test: Count

    @property
    def identity(self) -> Self:
        """What runs must share to be compared: by what name weights were opened does not count if their hash is known.

        So runs of one model on two machines are runs of the same, in whatever folders it lies there.
        """
        sites = tuple(site.model_copy(update={"sae": ""}) if site.weights_sha256 else site for site in self.sites)
        return self.model_copy(update={"model": "" if self.model_sha256 else self.model, "sites": sites})


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

    subject: Subject
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
