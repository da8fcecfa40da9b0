"""The link from the engine to the panes: shows its newest state, and asks it for the views that the panes need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from textual.screen import Screen

from circuit_tui.core.jobs.job import jobs_dir
from circuit_tui.core.runtime.throttle import Budget
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.engine import Engine
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.screens.compare import CompareScreen
from circuit_tui.tui.screens.groups import GroupsScreen
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip
from circuit_tui.tui.widgets.loading import Loading
from circuit_tui.tui.widgets.pane_tabs import PaneTabs
from circuit_tui.tui.widgets.panes import Panes

OUTPUT_RATE = 4000
"""Bytes a second that a search may write on the screen, however fast its steps are; charts take most of them."""
LONGEST_LOOK = 3.0
"""Seconds at most between two looks at a search."""
REFRESH_LATENT = 8  # ticks between two looks at the moving mask of the latent on the screen


class Presenter:
    """Keeps `screen` and its panes showing the newest state of `engine`.

    Attributes:
        shown: the state on the screen.
        prompt: the index of the prompt whose active nodes are shown; None before one is chosen.
    """

    def __init__(
        self, screen: Screen[None], panes: Panes, engine: Engine, bytes_written: Callable[[], int] = lambda: 0
    ) -> None:
        self._budget = Budget(OUTPUT_RATE, bytes_written, LONGEST_LOOK)
        self._screen, self._panes, self._engine = screen, panes, engine
        self.shown = EngineState()
        self.prompt: int | None = None
        self._opened: int | None = None
        self._lists_circuits = False
        self._ticks = 0
        self._asked: dict[str, object] = {}

    def panes_changed(self) -> None:
        """Other panes may be visible now: bring them up to date."""
        self.show_tabs()
        if self._panes.visible_pane("frontier"):
            self._panes.frontier.show(self.shown.search, self.shown.circuit, self.shown.intervals)
        seen = self._panes.visible_pane("circuits")
        if seen and not self._lists_circuits:
            self.list_circuits()
        self._lists_circuits = seen
        self.ask_views()

    def show_tabs(self) -> None:
        """Show which pane is current and how much it lists."""
        note = self._panes.circuit.summary() if self._panes.current == "circuit" else ""
        self._screen.query_one(PaneTabs).show(self._panes.current, note)

    def tick(self) -> None:
        """Show the newest state, charts included. Called at the chart rate.

        During a search only as often as `OUTPUT_RATE` allows.
        """
        running = self._engine.state.search.phase == "running"
        if running and self.shown.search.phase == "running" and not self._budget.due():
            return
        self._ticks += 1
        if running and self._ticks % REFRESH_LATENT == 0 and self._panes.visible_pane("latent"):
            self.ask_latent(again=True)
        self.show_state(charts=True)

    def show_state(self, *, charts: bool) -> None:
        """Show the newest state. Each pane gets only what has changed; charts wait for the tick."""
        state, shown, panes = self._engine.state, self.shown, self._panes
        if state is shown or self._opened not in (None, state.opened):
            return  # what another session has is for the screen that will take this one's place
        if not charts and state.search.phase == shown.search.phase:
            # Keep the old search in `shown`, so that the next tick still sees a difference.
            self.shown = replace(state, search=shown.search)
        else:
            self.shown = state
            if state.search is not shown.search and state.table is not None:
                panes.show_search(state.search, state.table.sites)
        if state.phase != "ready":
            self._show_loading(state)
        elif shown.phase != "ready":
            self._show_opened(state)
        if state.circuit is not None and state.circuit is not shown.circuit:
            whole = shown.circuit is None or state.epoch != shown.epoch
            panes.circuit.show(state.circuit, whole=whole)
            self.show_tabs()
        if state.annotations is not None and state.annotations is not shown.annotations:
            words = state.annotations.words()
            panes.circuit.table.set_words(words)
            panes.edges.set_groups({node: names[-1] for node, names in words.groups.items()})
        if state.latent_columns is not None and state.latent_columns is not shown.latent_columns:
            panes.circuit.show_latent_columns(state.latent_columns)
            self.show_tabs()
        if state.search.result is not shown.search.result or state.epoch != shown.epoch:
            self._asked.pop("latent", None)
        if _answers_known(state) and not _answers_known(shown):
            self._asked.pop("latent", None)  # its examples can say now which prompts are answered right
        if panes.visible_pane("frontier"):
            panes.frontier.show(self.shown.search, state.circuit, state.intervals)
        if state.audit is not shown.audit:
            panes.circuit.show_shares(state.audit.shares if state.audit else {})
            panes.audit.show(state.audit)
        if state.edges is not shown.edges or state.circuit is not shown.circuit:
            panes.edges.show(state.edges, state.circuit.size if state.circuit else 0)
        if state.edge_score is not shown.edge_score and state.table is not None:
            panes.edges.show_score(state.edge_score, state.table.sites)
        self._screen.query_one(FaithfulnessStrip).show(state)
        panes.latent.show(state.latent, state.table, state.latent_prompts, state.annotations, state.text_examples)
        panes.prompts.show(state.prompts, state.prompt, state.explanation, state.table, state.annotations)
        if state.past is not shown.past or state.circuit is not shown.circuit:
            panes.circuits.show(state)
        panes.trial.show(state.trial, state.table, state.circuit)
        top = self._screen.app.screen
        if isinstance(top, CompareScreen):
            top.show(state.comparison)
        elif isinstance(top, GroupsScreen):
            top.show(state.groups)
        self.ask_views()

    def _show_loading(self, state: EngineState) -> None:
        loading = self._screen.query_one(Loading)
        loading.show(state)
        loading.display = True
        self._panes.display = False

    def _show_opened(self, state: EngineState) -> None:
        assert state.table is not None
        assert state.info is not None
        self._screen.query_one(Loading).display = False
        self._panes.display = True
        if self._opened is not None:
            self._panes.home(self._panes.current).focus()
            return  # another opening has failed: the panes still have what they had
        self._opened = state.opened
        self._panes.circuit.set_table(state.table)
        self._panes.search.set_methods(state.methods)
        self._panes.home(self._panes.current).focus()
        for warning in state.info.warnings:
            self._screen.post_message(Notice(warning, "warning"))

    # Views that the engine computes for the visible panes

    def _ask(self, command: commands.Command, kind: str, about: object) -> None:
        """Send `command` unless the last one of its `kind` asked for the same."""
        if self._asked.get(kind) != about:
            self._asked[kind] = about
            self._engine.submit(command)

    def ask_views(self) -> None:
        """Ask for everything that the visible panes lack."""
        circuit = self.shown.circuit
        if circuit is None:
            return
        if self._panes.visible_pane("latent"):
            self.ask_latent()
        # Prompts need the exact numbers, which are on their way while the circuit's are estimated.
        if self._panes.visible_pane("prompts") and not circuit.estimated:
            self._ask(commands.ShowPrompts(), "prompts", circuit.version)
            if self.prompt is not None:
                self._ask(commands.ShowPrompt(self.prompt), "prompt", (self.prompt, circuit.version))
                self._ask(commands.ExplainPrompt(self.prompt), "explanation", (self.prompt, circuit.version))

        if self._panes.visible_pane("edges") and circuit.size and not circuit.estimated:
            self.ask_edges()
        if self._panes.visible_pane("try") and (prompt := self._panes.trial.prompt) is not None:
            self._ask(commands.TryPrompt(prompt), "try", (prompt, circuit.version))

    def ask_edges(self) -> None:
        """Ask for the edges of the circuit; those of what the pane looks at come first."""
        circuit = self.shown.circuit
        if circuit is None:
            return
        if self.shown.edges is None:
            self.follow_cursor()
        edges = self._panes.edges.list
        end = None if edges.view is None else edges.at
        self._ask(commands.ShowEdges(end), "edges", (circuit.version, end))

    def list_circuits(self) -> None:
        """Let the circuits pane look for circuit files: in the working directory, and of searches in the background."""
        try:
            jobs = sorted(path.parent for path in jobs_dir().glob("*/circuit.json"))
        except OSError:
            jobs = []
        self._panes.circuits.scan((Path(), *jobs))

    def follow_cursor(self) -> None:
        """Let the edges pane look at the kept node under the circuit's cursor."""
        circuit, row = self.shown.circuit, self._panes.circuit.table.current
        nodes = (row.node,) if isinstance(row, NodeRow) else row.nodes if isinstance(row, LatentRow) else ()
        kept = [node for node in nodes if circuit is not None and circuit.kept[node]]
        self._panes.edges.follow(kept[0] if kept else None)

    def ask_latent(self, *, again: bool = False) -> None:
        """Ask for the latent under the cursor; `again` asks even if it was asked for last."""
        row = self._panes.circuit.table.current
        if not isinstance(row, LatentRow | NodeRow):
            return
        wanted = (row.site, row.latent)
        if again:
            self._asked.pop("latent", None)
        self._panes.latent.want(wanted)
        self._ask(commands.ShowLatent(*wanted), "latent", wanted)


def _answers_known(state: EngineState) -> bool:
    """Whether the answers to the train prompts are computed."""
    return state.circuit is not None and state.circuit.train is not None
