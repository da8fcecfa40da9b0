"""The state that the engine publishes: one immutable object with everything that the screen shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from circuit_tui.core.attribution.score_parts import EdgeScore
    from circuit_tui.core.audit.view import AuditView
    from circuit_tui.core.edges.view import EdgesView
    from circuit_tui.core.latents.annotations import Annotations, GroupView
    from circuit_tui.core.latents.views import Explanation, LatentColumns, LatentPrompts
    from circuit_tui.core.search.registry import MethodInfo
    from circuit_tui.core.search.spec import SearchSpec
    from circuit_tui.core.session.trial_view import TrialView
    from circuit_tui.core.views import (
        CircuitView,
        FrontierPoint,
        LatentView,
        LoadProgress,
        MemoryUse,
        NodeTable,
        PromptsView,
        PromptView,
        SearchProgress,
        SearchResult,
        SessionInfo,
        SnapshotComparison,
        TextExamples,
    )

Phase = Literal["loading", "ready", "failed"]
SearchPhase = Literal["none", "running", "paused", "stopping", "done", "failed"]


@dataclass(frozen=True, slots=True)
class SearchState:
    """The current or last search.

    `trace` is its progress, thinned to a bounded number of points. `rate` is in steps per second. `frontier` holds the
    circuits found so far, ascending in size.
    """

    phase: SearchPhase = "none"
    spec: SearchSpec | None = None
    progress: SearchProgress | None = None
    trace: tuple[SearchProgress, ...] = ()
    rate: float | None = None
    result: SearchResult | None = None
    frontier: tuple[FrontierPoint, ...] = ()

    @property
    def live(self) -> bool:
        """Whether there is a search that can be paused or stopped."""
        return self.phase in ("running", "paused", "stopping")


@dataclass(frozen=True, slots=True)
class EngineState:
    """Everything at one moment.

    `opened` counts the sessions that were opened. `epoch` grows when the whole circuit is replaced (by a search, file
    or snapshot). `fingerprint` says what is open (`core/opening/identity.py`).
    """

    opened: int = 0
    phase: Phase = "loading"
    load: LoadProgress | None = None
    error: str = ""
    table: NodeTable | None = None
    info: SessionInfo | None = None
    methods: tuple[MethodInfo, ...] = ()
    circuit: CircuitView | None = None
    epoch: int = 0
    search: SearchState = SearchState()
    latent: LatentView | None = None
    prompts: PromptsView | None = None
    prompt: PromptView | None = None
    prompt_version: int = -1
    comparison: SnapshotComparison | None = None
    annotations: Annotations | None = None
    groups: tuple[GroupView, ...] = ()
    latent_columns: LatentColumns | None = None
    explanation: Explanation | None = None
    latent_prompts: LatentPrompts | None = None
    trial: TrialView | None = None
    memory: MemoryUse | None = None
    audit: AuditView | None = None
    edges: EdgesView | None = None
    text_examples: TextExamples | None = None
    edge_score: EdgeScore | None = None
    past: tuple[SearchResult, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[int, tuple[float, float] | None] = field(default_factory=dict)
