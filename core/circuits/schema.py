"""The circuit file as data, schema ``circuit-tui/circuit/2``, and the JSON Schema made from it.

The models here define the format. ``python -m circuit_tui.core.circuits.schema`` writes `circuit.schema.json` beside
this module anew, and a test compares the two. Every number is finite. Unknown keys are refused: they are misspelt.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from circuit_tui.core.choices import AblationKind, ErrorsKind, PositionsKind
from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.circuits.objectives_schema import ObjectivePart
from circuit_tui.core.circuits.part import Part
from circuit_tui.core.errors import UserError
from circuit_tui.core.views import Metrics

SCHEMA: Final = "circuit-tui/circuit/2"
SCHEMA_PATH = Path(__file__).with_name("circuit.schema.json")
BUNDLED = "circuit-tui/demo"
"""The `model.name` of the bundled model and the `sae.release` of its SAEs, in place of a path on one machine."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha256OrNone = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Count = Annotated[int, Field(ge=0)]


class Versions(Part):
    """The packages that made the file: this program, and the libraries whose numbers it shows."""

    circuit_tui: str
    torch: str
    transformer_lens: str
    sae_lens: str

    @classmethod
    def installed(cls) -> Self:
        """Returns the versions that are installed."""
        return cls(
            circuit_tui=version("circuit-tui"),
            torch=version("torch"),
            transformer_lens=version("transformer-lens"),
            sae_lens=version("sae-lens"),
        )


class MethodPart(Part):
    """How the nodes were found. `name` is ``"manual"`` when no search ran; `target` and `reached` are then null.

    `reached` refers to the search prompts. `edited` means that a person changed the nodes after the search. `warnings`
    are whole sentences from the search. `steps` says how its optimisation ran on a GPU: ``"captured"``, recorded and
    replayed, or ``"eager"``, one kernel at a time, which may part in the last bits. It is absent for a CPU.
    """

    name: Annotated[str, Field(min_length=1)]
    settings: dict[str, float | int | str | bool]
    target: float | None
    reached: bool | None
    edited: bool
    warnings: tuple[str, ...]
    steps: Literal["captured", "eager"] | None = None


class ModelPart(Part):
    """The model: a Hub name, a folder, or `BUNDLED`. `revision` is empty for a folder, the hash if unknown."""

    name: Annotated[str, Field(min_length=1)]
    revision: str
    dtype: str
    weights_sha256: Sha256OrNone
    processing: str


class TaskSource(Part):
    """Where the prompts come from: a built-in task by `name`, or a prompts file at `path`."""

    kind: Literal["builtin", "file"]
    name: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        key = "name" if self.kind == "builtin" else "path"
        if not getattr(self, key):
            raise ValueError(f"kind {self.kind!r} needs {key!r}")
        return self


class TaskPart(Part):
    """The prompts and their positions. `positions` names all positions in order; nodes refer to these names.

    `chat` means that each prompt is a user's message in the chat template of the model's tokenizer. A template that
    asks for the date is given `chat_date`. `bos` says whether plain prompts begin with the tokenizer's BOS.
    `tokens_sha256` is over the token ids of prompts and answers; empty in files of version 1.
    """

    name: Annotated[str, Field(min_length=1)]
    source: TaskSource
    prompts_sha256: Sha256
    chat: bool = False
    chat_date: str | None = None
    bos: bool = True
    tokens_sha256: Sha256OrNone = ""
    positions_kind: PositionsKind
    positions: tuple[str, ...]
    n_train: Count
    n_test: Count


class SaePart(Part):
    """One SAE: sae-lens `release` and `id`, or the folder `path`. The hash is over its weights.

    For a released SAE, `path` is its repository and folder on the Hub, and `revision` the commit of the repository.
    """

    release: str | None
    id: str | None
    path: str | None
    revision: str = ""
    weights_sha256: Sha256OrNone
    d_sae: Annotated[int, Field(ge=1)]
    architecture: str

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.path and not (self.release and self.id):
            raise ValueError("needs 'release' and 'id', or 'path'")
        return self


class StatsPart(Part):
    """Activations of one node over the train prompts (units of the SAE), and its exact `effect`.

    `effect` is the drop in test faithfulness when this node alone is ablated; null if it was not computed.
    """

    mean_clean: float
    mean_corrupt: float
    max: float
    frequency: Annotated[float, Field(ge=0, le=1)]
    effect: float | None


class LabelPart(Part):
    """A name that somebody gave a latent. `source` is ``"you"``, or what made it; `score` says how good it is."""

    text: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    date: str
    score: float | None = None


class NodePart(Part):
    """One kept node of a site: a latent at a named position.

    `label` is where it fires on this task. `labels` and `note` are of its latent, `mark` is of the node; each is absent
    if there is nothing.
    """

    position: str
    latent: Count
    label: str
    stats: StatsPart
    labels: tuple[LabelPart, ...] = ()
    mark: bool = False
    note: str = ""


class SitePart(Part):
    """One hook with its SAE and its kept nodes. A site without kept nodes is listed too: it is spliced."""

    hook: Annotated[str, Field(min_length=1)]
    sae: SaePart
    nodes: tuple[NodePart, ...]


ABLATION_SOURCES: dict[AblationKind, str] = {
    "mean": "corrupt train prompts",
    "clean-mean": "clean train prompts",
    "zero": "none",
    "resample": "corrupt train prompts",
}


class AblationPart(Part):
    """The value that a node outside the circuit takes. `source` names the prompts from which it was computed."""

    kind: AblationKind
    errors: ErrorsKind
    source: str

    @classmethod
    def of(cls, kind: AblationKind, errors: ErrorsKind) -> Self:
        """Returns the part for a kind of ablation and of SAE errors."""
        return cls(kind=kind, errors=errors, source=ABLATION_SOURCES[kind])


class HeldAblationsPart(AblationPart):
    """The ablation of a circuit's numbers, and those under which its search had to hold its targets.

    `kinds` names all of them, `kind` first; `slack` says how much lower the targets are under the others. Both are
    absent if there are no others.
    """

    kinds: tuple[AblationKind, ...] = ()
    slack: float = 0.0

    def with_others(self, others: tuple[AblationKind, ...], slack: float) -> Self:
        """Returns the part with the further ablations that the search held."""
        return self.model_copy(update={"kinds": (self.kind, *others) if others else (), "slack": slack})


class MetricsPart(Part):
    """The numbers of one circuit on one split, with the meaning they have in `views.Metrics`.

    `faithfulness_interval` is absent where it was not computed.
    """

    faithfulness: float
    faithfulness_spliced: float
    completeness: float | None
    kl: float
    accuracy: Annotated[float, Field(ge=0, le=1)]
    logit_diff: float
    cross_entropy: float
    per_prompt_iqr: tuple[float, float]
    faithfulness_interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, metrics: Metrics) -> Self:
        """Returns the numbers in the form of a file.

        Raises:
            UserError: a number is not finite.
        """
        values = asdict(metrics)
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(
                    f"export: {name} has no value: the empty circuit does what the whole model does, so there is "
                    "nothing to be faithful to; try other sites, another task or another ablation"
                )
        return cls(**values)


class MetricsParts(Part):
    """`train` and `test` are the circuit on the two splits; `plain`, `spliced`, `empty` are M, M_s and ∅ on test."""

    train: MetricsPart
    test: MetricsPart
    plain: MetricsPart
    spliced: MetricsPart
    empty: MetricsPart


class SnapshotNode(Part):
    """One node of a snapshot: a latent of the SAE at `hook`, at a named position."""

    hook: str
    position: str
    latent: Count


class NotedPart(SnapshotNode):
    """A node outside the circuit of which the user says something, as in `NodePart`."""

    labels: tuple[LabelPart, ...] = ()
    mark: bool = False
    note: str = ""


class GroupPart(Part):
    """Nodes under one name, kept or not.

    `effect` is the drop in faithfulness on `split` when its kept nodes are ablated together; null if none is kept.
    """

    name: Annotated[str, Field(min_length=1)]
    colour: str
    nodes: Annotated[tuple[SnapshotNode, ...], Field(min_length=1)]
    effect: float | None
    split: Literal["test"] = "test"


class SnapshotPart(Part):
    """A circuit remembered by a name. `metrics` are on the test prompts; null where they were not computed."""

    name: Annotated[str, Field(min_length=1)]
    nodes: tuple[SnapshotNode, ...]
    metrics: MetricsPart | None


_INTERVAL = "faithfulness_interval"
_STEPS = "steps"
_ABSENT_IF_EMPTY = ("objectives", "audit", "snapshots", "edges", "groups", "noted")
_ABSENT_FROM_NODES = ("labels", "mark", "note")


class CircuitFile(Part):
    """A circuit, with everything needed to open it again and recompute its numbers. `size` is the number of nodes.

    `objectives` is absent if the search had to hold faithfulness alone, `audit` until the circuit has been audited,
    `edges` until they have been computed, `snapshots` if there are none, `groups` and `noted` likewise.
    """

    schema_: Annotated[Literal["circuit-tui/circuit/2"], Field(alias="schema")] = SCHEMA
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="ISO 8601, UTC")]
    versions: Versions
    seed: int
    method: MethodPart
    model: ModelPart
    task: TaskPart
    sites: Annotated[tuple[SitePart, ...], Field(min_length=1)]
    ablation: HeldAblationsPart
    size: Count
    metrics: MetricsParts
    objectives: tuple[ObjectivePart, ...] = ()
    audit: AuditPart | None = None
    snapshots: tuple[SnapshotPart, ...] = ()
    edges: EdgesPart | None = None
    groups: tuple[GroupPart, ...] = ()
    noted: tuple[NotedPart, ...] = ()

    def data(self) -> dict[str, Any]:
        """Returns the file's content as plain JSON values, keys in the order of the schema."""
        data = self.model_dump(mode="json", by_alias=True)
        for key in _ABSENT_IF_EMPTY:
            if not getattr(self, key):
                del data[key]
        if data["method"][_STEPS] is None:
            del data["method"][_STEPS]
        if not self.ablation.kinds:
            del data["ablation"]["kinds"], data["ablation"]["slack"]
        for node in (*(node for site in data["sites"] for node in site["nodes"]), *data.get("noted", ())):
            for key in _ABSENT_FROM_NODES:
                if not node[key]:
                    del node[key]
        snapshots = [snapshot["metrics"] for snapshot in data.get("snapshots", ())]
        for metrics in (*data["metrics"].values(), *filter(None, snapshots)):
            if metrics[_INTERVAL] is None:
                del metrics[_INTERVAL]
        return data

    def nodes(self) -> list[tuple[str, str, int]]:
        """Returns every kept node as (hook, position name, latent), in file order."""
        return [(site.hook, node.position, node.latent) for site in self.sites for node in site.nodes]

    def annotated_nodes(self) -> list[tuple[str, str, int]]:
        """Returns the nodes of groups, and those outside the circuit of which something is said, as in `nodes`."""
        named = (*self.noted, *(node for group in self.groups for node in group.nodes))
        return [(node.hook, node.position, node.latent) for node in named]

    def snapshot_nodes(self) -> dict[str, list[tuple[str, str, int]]]:
        """Returns the nodes of each snapshot by its name, each as (hook, position name, latent)."""
        return {each.name: [(node.hook, node.position, node.latent) for node in each.nodes] for each in self.snapshots}


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of `CircuitFile`."""
    schema = CircuitFile.model_json_schema(by_alias=True, mode="serialization")
    schema["required"] = [key for key in schema["required"] if key not in _ABSENT_IF_EMPTY]
    schema["$defs"]["MetricsPart"]["required"].remove(_INTERVAL)
    schema["$defs"]["MethodPart"]["required"].remove(_STEPS)
    for key in ("kinds", "slack"):
        schema["$defs"]["HeldAblationsPart"]["required"].remove(key)
    for part in ("NodePart", "NotedPart"):
        own = schema["$defs"][part]
        own["required"] = [key for key in own["required"] if key not in _ABSENT_FROM_NODES]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}


def schema_text() -> str:
    """Returns the text of `circuit.schema.json`."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
