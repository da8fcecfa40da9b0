"""From the engine to the screen: drains its slot, and asks it for what the panes on the screen need."""

from __future__ import annotations

from dataclasses import replace

from circuit_tui.tui.circuit_rows import LatentRow, NodeRow
from circuit_tui.tui.engine import commands as commands
from circuit_tui.tui.engine.messages import NodeChosen, Notice, PromptChosen, StateChanged
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screens.compare import CompareScreen
from circuit_tui.tui.screens.panes import PaneScreen
from circuit_tui.tui.widgets.audit_pane import AuditPane
from circuit_tui.tui.widgets.circuit_pane import CircuitPane
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.loading import Loading
from circuit_tui.tui.widgets.prompts_pane import PromptsPane
from circuit_tui.tui.widgets.search_pane import SearchPane

SETTLE = 0.06  # seconds the cursor rests before the latent under it is asked for
REFRESH_LATENT = 8  # ticks between two looks at the moving mask of the latent on the screen


class LiveScreen(PaneScreen):
    """Keeps the panes showing the engine's newest state."""

    def __init__(self, options: ExplorerOptions) -> None:
        super().__init__(options)
        self._shown = EngineState()
        self._ticks = 0
        self._asked: dict[str, object] = {}
        self._prompt: int | None = None

    def on_mount(self) -> None:
        self.set_interval(1 / self.app.chart_rate, self._tick)
        # The engine's imports hold the interpreter for long stretches: the first frame goes out before them.
        self.when_drawn(self.app.begin)

    def panes_changed(self) -> None:
        if self._visible("frontier"):
            self.query_one(FrontierPane).show(self._shown.search, self._shown.circuit)
        self._ask_views()

    def _tick(self) -> None:
        self._ticks += 1
        search = self.app.engine.state.search
        if search.phase == "running" and self._ticks % REFRESH_LATENT == 0 and self._visible("latent"):
            self._ask_latent(again=True)
        self._drain(charts=True)

    def on_state_changed(self, event: StateChanged) -> None:
        event.stop()
        self._drain(charts=False)

    def _drain(self, *, charts: bool) -> None:
        """Show the newest state. Each pane gets only what changed; charts wait for the tick."""
        state, shown = self.app.engine.state, self._shown
        if state is shown:
            return
        if not charts and state.search.phase == shown.search.phase:
            # Keep the old one in `_shown`, so that the next tick still sees a difference.
            state_shown = replace(state, search=shown.search)
        else:
            state_shown = state
            if state.search is not shown.search and state.table is not None:
                self.query_one(SearchPane).show(state.search, state.table.sites)
        self._shown = state_shown
        if state.phase != "ready":
            self.query_one(Loading).show(state)
            self.query_one(Loading).display = True
            self.query_one("#body").display = False
        elif shown.phase != "ready":
            self._opened(state)
        if state.circuit is not None and state.circuit is not shown.circuit:
            whole = shown.circuit is None or state.epoch != shown.epoch
            self.query_one(CircuitPane).show(state.circuit, whole=whole)
            self._show_tabs()
        if state.search.result is not shown.search.result or state.epoch != shown.epoch:
            self._asked.pop("latent", None)
        if self._visible("frontier"):
            self.query_one(FrontierPane).show(state_shown.search, state.circuit)
        if state.audit is not shown.audit:
            self.query_one(CircuitPane).show_shares(state.audit.shares if state.audit else {})
            self.query_one(AuditPane).show(state.audit)
        self.query_one(FaithfulnessStrip).show(state)
        self.query_one(LatentPane).show(state.latent, state.table)
        self.query_one(PromptsPane).show(state.prompts, state.prompt, state.table)
        if isinstance(self.app.screen, CompareScreen):
            self.app.screen.show(state.comparison)
        self._ask_views()

    def _opened(self, state: EngineState) -> None:
        assert state.table is not None
        assert state.info is not None
        self.query_one(Loading).display = False
        self.query_one("#body").display = True
        self.query_one(CircuitPane).set_table(state.table)
        self.query_one(SearchPane).set_methods(state.methods)
        self._home(self._pane).focus()
        for warning in state.info.warnings:
            self.post_message(Notice(warning, "warning"))

    # What has to be computed for the panes on the screen

    def _ask(self, command: commands.Command, kind: str, about: object) -> None:
        if self._asked.get(kind) != about:
            self._asked[kind] = about
            self.app.engine.submit(command)

    def _ask_views(self) -> None:
        circuit = self._shown.circuit
        if circuit is None:
            return
        if self._visible("latent"):
            self._ask_latent()
        if self._visible("prompts") and not circuit.estimated:  # they need the exact numbers, which are on their way
            self._ask(commands.ShowPrompts(), "prompts", circuit.version)
            if self._prompt is not None:
                self._ask(commands.ShowPrompt(self._prompt), "prompt", (self._prompt, circuit.version))

    def _ask_latent(self, *, again: bool = False) -> None:
        row = self.query_one(CircuitTable).current
        wanted = (row.site, row.latent) if isinstance(row, LatentRow | NodeRow) else None
        if wanted is None:
            return
        if again:
            self._asked.pop("latent", None)
        self.query_one(LatentPane).want(wanted)
        self._ask(commands.ShowLatent(*wanted), "latent", wanted)

    def on_circuit_table_cursor_moved(self) -> None:
        if self._visible("latent"):
            at = self.query_one(CircuitTable).cursor
            self.set_timer(SETTLE, lambda: self._settled(at))

    def _settled(self, at: int) -> None:
        """The cursor has rested; if it has moved on since, a later call will do."""
        if self.query_one(CircuitTable).cursor == at:
            self._ask_latent()

    def on_circuit_table_listed(self) -> None:
        self._show_tabs()

    def on_prompt_chosen(self, event: PromptChosen) -> None:
        self._prompt = event.index
        self._ask_views()

    def on_node_chosen(self, event: NodeChosen) -> None:
        self.query_one(CircuitTable).reveal(event.node)
        self.action_pane("circuit")
