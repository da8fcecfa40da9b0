"""The audit as data: the part `audit` of a circuit file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from circuit_tui.core.choices import Outcome, Verdict
from circuit_tui.core.circuits.part import Part

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class AuditSettingsPart(Part):
    """How much was measured: see `subject.AuditSettings`. Whoever measures again with these gets the same numbers."""

    seed: Count
    bootstraps: Count
    subsets: Count
    draws: Count
    random_circuits: Count
    pairs: Count
    seeds: Count
    resamplings: Count
    shuffles: Count
    quick: bool


class AuditSearchPart(Part):
    """How the audit searched: as the circuit was found, or by default where it was made by hand."""

    method: str
    target: float
    settings: dict[str, float | int | str | bool]


class AuditTextPart(Part):
    """The text on which the splice was priced; `path` is ``circuit-tui/demo`` for the one that ships."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FindingPart(Part):
    """One line: see `finding.Finding`. A number that has no value is null."""

    key: Annotated[str, Field(min_length=1)]
    title: str
    verdict: Verdict
    says: str
    decides: bool
    numbers: dict[str, float | int | None]


class AuditRunPart(Part):
    """One search made for the audit: with which seed, on prompts or labels drawn with which, and what it found.

    `train` is the faithfulness on the prompts it searched, `test` that on held-out ones.
    """

    kind: str
    seed: Count
    draw: Count
    size: Count
    train: float | None
    test: float | None
    reached: bool


class NodeSharePart(Part):
    """The share of the searches with other seeds and on resampled prompts that chose a node."""

    hook: str
    position: str
    latent: Count
    share: Share


class AuditPart(Part):
    """Whether the circuit of this file is to be believed.

    Attributes:
        finished: whether every line was computed.
        runs: the searches made.
        jaccard: the overlap of every two of those that are not about nonsense, in the order of `runs`.
        shares: every node that any of those chose.
    """

    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    circuit_tui: str
    finished: bool
    outcome: Outcome
    seconds: Annotated[float, Field(ge=0)]
    settings: AuditSettingsPart
    search: AuditSearchPart
    text: AuditTextPart | None
    findings: tuple[FindingPart, ...]
    runs: tuple[AuditRunPart, ...]
    jaccard: tuple[tuple[Share, ...], ...]
    shares: tuple[NodeSharePart, ...]
