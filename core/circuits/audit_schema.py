"""The audit as data: the part `audit` of a circuit file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from circuit_tui.core.choices import Outcome, Verdict
from circuit_tui.core.circuits.part import Part

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class AuditSettingsPart(Part):
    """How much was measured (`audit/settings.py`). An audit with the same settings gives the same numbers.

    `dictionaries`, `edges` and `edge_draws` are missing where the audit is older than their lines.
    """

    seed: Count
    bootstraps: Count
    subsets: Count
    draws: Count
    random_circuits: Count
    pairs: Count
    seeds: Count
    resamplings: Count
    shuffles: Count
    dictionaries: bool | None = None
    edges: bool | None = None
    edge_draws: Count | None = None
    quick: bool


class AuditSearchPart(Part):
    """How the audit searched: as the circuit was found, or with the defaults if it was made by hand."""

    method: str
    target: float
    settings: dict[str, float | int | str | bool]


class AuditTextPart(Part):
    """The text on which the splice was priced; `path` is ``circuit-tui/demo`` for the text that ships."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FindingPart(Part):
    """One line of the audit (`audit/finding.py`). A number without a value is null."""

    key: Annotated[str, Field(min_length=1)]
    title: str
    verdict: Verdict
    says: str
    decides: bool
    numbers: dict[str, float | int | None]


class AuditRunPart(Part):
    """One search made for the audit, and what it found. `draw` is the seed that drew its prompts or labels.

    `train` is the faithfulness on the prompts it searched, `test` the faithfulness on held-out prompts.
    """

    kind: str
    seed: Count
    draw: Count
    size: Count
    train: float | None
    test: float | None
    reached: bool


class NodeSharePart(Part):
    """A node, and the share of the searches that chose it: those with other seeds and those on resampled prompts."""

    hook: str
    position: str
    latent: Count
    share: Share


class AuditPart(Part):
    """The audit: how far the circuit of this file is to be believed.

    Attributes:
        finished: whether every line was computed.
        runs: the searches made.
        jaccard: the overlap of every two searches on real labels, in the order of `runs`.
        shares: every node that any of these searches chose.
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
