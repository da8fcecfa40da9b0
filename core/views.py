"""The values that a screen or a printer shows: immutable, plain Python, no tensor.

A session makes these objects and nothing changes them. Nodes are numbered: node `i` is row `i` of the `NodeTable`,
fixed for as long as the session is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from circuit_tui.core.choices import AblationKind, ObjectiveKind


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """One stage of opening a session: `done` of `total` stages are finished, `text` describes the present one.

    During a download `bytes_done` of `bytes_total` bytes are on the disk and `seconds_left` remain at the recent rate.
    """

    text: str
    done: int
    total: int
    bytes_done: int | None = None
    bytes_total: int | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """One site: a hook with its SAE. `n_nodes` counts its candidate nodes."""

    hook: str
    short: str
    sae_name: str
    architecture: str
    d_sae: int
    n_nodes: int


@dataclass(frozen=True, slots=True)
class NodeTable:
    """All candidate nodes in columns; row `i` is node `i`, sorted by site, then latent, then position.

    `site` indexes `sites`, `position` indexes `positions`. Statistics are over the train prompts (units of the SAE's
    activation): `mean_clean`, `mean_corrupt`, `max` over clean prompts, `frequency` the share of clean prompts on which
    the latent fires at that position. `difference` is the mean of |clean - corrupt| over pairs, None where no pair has
    the position in both. `label` is empty where none is known.
    """

    sites: tuple[SiteInfo, ...]
    positions: tuple[str, ...]
    site: tuple[int, ...]
    position: tuple[int, ...]
    latent: tuple[int, ...]
    label: tuple[str, ...]
    mean_clean: tuple[float, ...]
    mean_corrupt: tuple[float, ...]
    max: tuple[float, ...]
    frequency: tuple[float, ...]
    difference: tuple[float | None, ...]

    def __len__(self) -> int:
        return len(self.latent)


@dataclass(frozen=True, slots=True)
class Metrics:
    """One circuit (or M, M_s, the empty circuit) on one split. Ratios are ratios of means (`evaluation/metrics.py`).

    `faithfulness` is against M, `faithfulness_spliced` against M_s. `kl` (nats) is KL(M || circuit) at the answer
    position, `accuracy` the share of prompts whose right answer beats the wrong one, `logit_diff` the mean of right
    minus wrong, `cross_entropy` (nats) of the right answer, `per_prompt_iqr` the 25th and 75th percentile of the
    per-prompt error LD_i(circuit) - LD_i(M). `faithfulness_interval` is the 95% bootstrap interval of `faithfulness`
    over prompts (`evaluation/bootstrap.py`). None where not (yet) computed.
    """

    faithfulness: float
    faithfulness_spliced: float
    logit_diff: float
    kl: float
    accuracy: float
    cross_entropy: float
    per_prompt_iqr: tuple[float, float]
    completeness: float | None = None
    faithfulness_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class StandardErrors:
    """Standard errors of numbers of `Metrics` that are estimates, each in the unit of its number (`kl` in nats).

    0 for a number that is exact, None for one that must not be shown: its 95% interval reaches further than 0.05 to
    either side.
    """

    faithfulness: float | None
    faithfulness_spliced: float | None
    kl: float | None


@dataclass(frozen=True, slots=True)
class Reference:
    """The baselines of faithfulness on one split of `n_prompts`: M, M_s and the empty circuit."""

    n_prompts: int
    plain: Metrics
    spliced: Metrics
    empty: Metrics


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes of a device's memory: how many are in use, by any process, and how many it has."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Facts that do not change while the session is open. `warnings` are whole sentences for the user."""

    model: str
    device: str
    dtype: str
    task: str
    positions_kind: str
    ablation: str
    errors: str
    methods: tuple[str, ...]
    train: Reference
    test: Reference
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CircuitView:
    """The current circuit. `kept[i]` is 1 if node `i` is in it; `version` grows with every change.

    `effect[i]` is the exact drop of test faithfulness when node `i` alone is ablated, None while not computed for this
    version or when the node is not kept; `effects_done` counts those filled in. `train` may lag behind `test` and is
    None until computed. `last_change` says what the last edit was (``"L1 412@subject off"``) and `delta` what it did to
    test faithfulness, None where the circuit before has no exact number or where this one's must not be shown. `dirty`
    means edits since the last export or open. `standard_errors` are None unless `test` and `delta` are estimates from a
    sample of the prompts (`evaluation/sampled_estimate.py`), soon replaced by the exact numbers of the same version;
    `delta` then has the standard error of `test.faithfulness`. `target` is the faithfulness that the search which found
    the circuit had to reach; None if no search did.
    """

    version: int
    kept: bytes
    size: int
    size_by_site: tuple[int, ...]
    test: Metrics
    train: Metrics | None
    effect: tuple[float | None, ...]
    effects_done: int
    last_change: str
    delta: float | None
    can_undo: bool
    can_redo: bool
    snapshots: tuple[str, ...]
    dirty: bool
    standard_errors: StandardErrors | None = None
    target: float | None = None

    @property
    def estimated(self) -> bool:
        """Whether `test` and `delta` are estimates."""
        return self.standard_errors is not None


@dataclass(frozen=True, slots=True)
class SnapshotComparison:
    """The current circuit and the snapshot `name`: nodes in one of them or in both, and metrics on the test split."""

    name: str
    only_current: tuple[int, ...]
    only_snapshot: tuple[int, ...]
    both: int
    current: Metrics
    snapshot: Metrics


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One hard circuit of a search: size, and faithfulness against M on both splits (`test` None if not evaluated)."""

    size: int
    train: float
    test: float | None


SearchStage = Literal["optimise", "eliminate", "frontier", "score", "done"]
StepPath = Literal["", "captured", "eager"]
"""How the steps of a search's optimisation run on a GPU: recorded and replayed, or one kernel at a time.

Empty on a CPU, and where nothing is optimised.
"""


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """One step of a search. `step` of at most `steps` (an estimate); faithfulness is against M on the search prompts.

    `soft` is the faithfulness of the mask as trained, `hard` that of the thresholded mask when last evaluated. `size`
    counts kept nodes, `size_by_site` the same for each site. `seconds_left` is an estimate or None.
    """

    method: str
    stage: SearchStage
    step: int
    steps: int
    loss: float | None
    soft: float | None
    hard: float | None
    size: int
    size_by_site: tuple[int, ...]
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class HeldValue:
    """One thing that a search had to hold: an objective under an ablation, on one template or (empty) on all prompts.

    The values are 1 for the model and 0 for the empty circuit (`search/objectives.py`); `test` is None if not measured.
    """

    kind: ObjectiveKind
    target: float
    ablation: AblationKind
    template: str
    train: float
    test: float | None

    @property
    def reached(self) -> bool:
        """Whether it was reached on the search prompts."""
        return abs(1 - self.train) <= 1 - self.target


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search: a hard circuit, its metrics on both splits, and the frontier below it (ascending size).

    `reached` tells whether the target was reached on the search prompts; `warnings` are whole sentences (train and test
    apart, target missed on held-out prompts, …). `stopped` means the user stopped it early. `step_path` says how the
    steps of the optimisation ran. `objectives` (kind, target), `ablations`, `slack` and `templates` are those of the
    `SearchSpec`, and `held` has the value of each condition; all are empty for faithfulness alone.
    """

    method: str
    settings: dict[str, float | int | str | bool]
    seed: int
    target: float
    nodes: frozenset[int]
    train: Metrics
    test: Metrics
    frontier: tuple[FrontierPoint, ...]
    reached: bool
    stopped: bool
    steps: int
    seconds: float
    warnings: tuple[str, ...] = ()
    step_path: StepPath = ""
    objectives: tuple[tuple[ObjectiveKind, float], ...] = ()
    ablations: tuple[AblationKind, ...] = ()
    slack: float = 0.0
    templates: bool = False
    held: tuple[HeldValue, ...] = ()


PromptSide = Literal["clean", "corrupt", "text"]


@dataclass(frozen=True, slots=True)
class TokenActivation:
    """The activations of one latent on one text: at each token, and the largest, `peak`.

    `side` says whether it is a clean or a corrupt prompt or a piece of a text of the user's. `right` says of a clean
    prompt whether the circuit answers it right, None where that is not computed.
    `sinks` are the indices of tokens that are attention sinks at the latent's site (`opening/attention_sinks.py`).
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: float
    sinks: tuple[int, ...] = ()
    side: PromptSide = "clean"
    right: bool | None = None


@dataclass(frozen=True, slots=True)
class ActivationBand:
    """Some of the `count` texts whose largest activation lies in (low, high]; the top band has those above `low`."""

    low: float
    high: float
    count: int
    examples: tuple[TokenActivation, ...]


@dataclass(frozen=True, slots=True)
class TextExamples:
    """Where a latent fires in the text at `path`: on `n_firing` of its `n_tokens` tokens. The first band is the top."""

    site: int
    latent: int
    path: str
    n_tokens: int
    n_firing: int
    bands: tuple[ActivationBand, ...]


@dataclass(frozen=True, slots=True)
class LatentView:
    """Everything that the screen shows of one latent at one site.

    `histogram` counts nonzero activations on clean train prompts in equal bins between 0 and `histogram_max`.
    `bands` are examples over the range of its activation, the most active first, each text once: train prompts, clean
    and corrupt (`latents/examples.py`).
    `profile` is (position name, mean on clean, mean on corrupt) in order. `promotes` and `suppresses` are (token, logit
    weight) of the decoder direction through the final norm's gain and the unembedding (`models/readout.py`), `answers`
    the same for every answer of the task; the weights are those before the logits' `soft_cap`, None for none.
    `neighbours` are (latent, cosine) of the nearest decoder
    directions. `mask_path` maps a position name to the kept-probability of that node during the last search, at the
    steps `mask_steps`; empty before a search.
    """

    site: int
    latent: int
    label: str
    histogram: tuple[int, ...]
    histogram_max: float
    bands: tuple[ActivationBand, ...]
    profile: tuple[tuple[str, float, float], ...]
    promotes: tuple[tuple[str, float], ...]
    suppresses: tuple[tuple[str, float], ...]
    neighbours: tuple[tuple[int, float], ...]
    answers: tuple[tuple[str, float], ...] = ()
    soft_cap: float | None = None
    mask_steps: tuple[int, ...] = ()
    mask_path: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One test prompt: its text, answers, and logit difference under M, M_s and the current circuit."""

    index: int
    text: str
    answer: str
    wrong: str
    plain: float
    spliced: float
    circuit: float


@dataclass(frozen=True, slots=True)
class PromptsView:
    """All test prompts for circuit `version`: those answered wrong first, then the largest |circuit - plain| first."""

    version: int
    rows: tuple[PromptRow, ...]


@dataclass(frozen=True, slots=True)
class PromptView:
    """One test prompt in detail: the kept nodes that fire on it, as (node, token text, activation), strongest first.

    `sinks` has, by the index of a token, the sites (in short) at which it is an attention sink under the circuit.
    """

    row: PromptRow
    tokens: tuple[str, ...]
    active: tuple[tuple[int, str, float], ...]
    sinks: dict[int, tuple[str, ...]] = field(default_factory=dict)
