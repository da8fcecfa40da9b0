"""The explorer's one screen: the strip, the four panes, the footer, and what each key does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from circuit_tui.core.errors import UserError
from circuit_tui.tui import engine_commands as commands
from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow, SiteRow
from circuit_tui.tui.engine_state import EngineState
from circuit_tui.tui.messages import LatentChosen, NodeChosen, Notice, PromptChosen, StateChanged
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.compare import CompareScreen
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.widgets.circuit_pane import CircuitPane, FilterInput
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip
from circuit_tui.tui.widgets.key_footer import KeyFooter
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.loading import Loading
from circuit_tui.tui.widgets.pane_tabs import PANES, PaneTabs
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompts_pane import PromptsPane
from circuit_tui.tui.widgets.search_pane import SearchPane
from circuit_tui.tui.widgets.search_report import SearchReport

if TYPE_CHECKING:
    from circuit_tui.tui.app import ExplorerApp

SMALLEST = (80, 24)
WIDE = (120, 36)
SETTLE = 0.06  # seconds the cursor rests before the latent under it is asked for
REFRESH_LATENT = 8  # ticks between two looks at the moving mask of the latent on the screen


class ExplorerScreen(Screen[None]):
    """Drains the engine's slot and hands the parts to the panes; turns keys into commands."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in ACTIONS]
    AUTO_FOCUS = "#circuit-table"
    app: ExplorerApp

    def __init__(self, method: str, target: float, seed: int, out: Path | None) -> None:
        super().__init__()
        self._start_with = (method, target, seed)
        self._out = out
        self._pane = "circuit"
        self._wide = False
        self._shown = EngineState()
        self._ticks = 0
        self._asked: dict[str, object] = {}
        self._prompt: int | None = None

    def compose(self) -> ComposeResult:
        yield FaithfulnessStrip()
        yield PaneTabs()
        yield Loading()
        with Container(id="body"):
            with Vertical(id="left", classes="column"):
                yield CircuitPane()
                yield SearchPane(*self._start_with)
            with Vertical(id="right", classes="column"):
                yield LatentPane()
                yield PromptsPane()
        yield KeyFooter()
        yield Static(id="too-small")

    def on_mount(self) -> None:
        self._place()
        self.set_interval(1 / self.app.chart_rate, self._tick)
        # The engine's imports hold the interpreter for long stretches: the first frame goes out before them.
        self.call_after_refresh(lambda: self.set_timer(0.02, self.app.engine.start))

    # Layout

    def on_resize(self, event: events.Resize) -> None:
        self._place()

    def _place(self) -> None:
        size = self.app.size
        small = size.width < SMALLEST[0] or size.height < SMALLEST[1]
        notice = self.query_one("#too-small", Static)
        notice.display = small
        if small:
            notice.update(
                f"The terminal is {size.width}×{size.height}.\n"
                f"The explorer needs {SMALLEST[0]}×{SMALLEST[1]}: please enlarge it."
            )
        self._wide = size.width >= WIDE[0] and size.height >= WIDE[1]
        self.set_class(self._wide, "-wide")
        self._show_pane(self._pane)

    def _show_pane(self, name: str) -> None:
        self._pane = name
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "-current")
        self.query_one("#left").set_class(name in ("circuit", "search"), "-current")
        self.query_one("#right").set_class(name in ("latent", "prompts"), "-current")
        self.query_one(KeyFooter).show(name)
        self._show_tabs()
        self._ask_views()

    def _show_tabs(self) -> None:
        note = self.query_one(CircuitPane).summary() if self._pane == "circuit" else ""
        self.query_one(PaneTabs).show(self._pane, note)

    def _visible(self, pane: str) -> bool:
        return self._wide or self._pane == pane

    def _home(self, pane: str) -> Widget:
        """Where the focus goes when a pane is chosen."""
        homes: dict[str, type[Widget]] = {
            "circuit": CircuitTable,
            "latent": LatentPane,
            "prompts": PromptList,
            "search": SearchReport,
        }
        return self.query_one(homes[pane])

    def action_pane(self, name: str) -> None:
        self._show_pane(name)
        self.call_after_refresh(self._home(name).focus)

    def on_pane_tabs_chosen(self, event: PaneTabs.Chosen) -> None:
        self.action_pane(event.pane)

    def action_next(self, step: int) -> None:
        chain = self.focus_chain
        at = chain.index(self.focused) + step if self.focused in chain else 0
        if 0 <= at < len(chain):
            chain[at].focus()
        elif self._wide:
            chain[at % len(chain)].focus()
        else:
            self.action_pane(PANES[(PANES.index(self._pane) + step) % len(PANES)])

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for widget in event.widget.ancestors_with_self:
            if widget.id in PANES and widget.id != self._pane:
                self._show_pane(widget.id)

    # Engine to screen

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
            state_shown = _with_search(state, shown)
        else:
            state_shown = state
            if state.search is not shown.search and state.table is not None:
                self.query_one(SearchPane).show(state.search, state.table.sites)
        self._shown = state_shown
        if state.phase != "ready":
            self.query_one(Loading).show(state)
        elif shown.phase != "ready":
            self._opened(state)
        if state.circuit is not None and state.circuit is not shown.circuit:
            whole = shown.circuit is None or state.epoch != shown.epoch
            self.query_one(CircuitPane).show(state.circuit, whole=whole)
        if state.search.result is not shown.search.result or state.epoch != shown.epoch:
            self._asked.pop("latent", None)
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
        if self._visible("prompts"):
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

    def on_latent_chosen(self, event: LatentChosen) -> None:
        table = self._shown.table
        for node in range(len(table)) if table else ():
            if table and (table.site[node], table.latent[node]) == (event.site, event.latent):
                self.on_node_chosen(NodeChosen(node))
                return

    # Keys to engine

    def _submit(self, command: commands.Command) -> None:
        if self._shown.phase == "ready":
            self.app.engine.submit(command)

    def action_switch(self) -> None:
        row = self.query_one(CircuitTable).current
        match row:
            case SiteRow(site):
                self._submit(commands.ToggleSite(site))
            case LatentRow(site, latent, nodes):
                whole = self._shown.table is not None and len(nodes) == _positions_of(self._shown, site, latent)
                # A list that shows one position of several toggles that one: nothing unseen changes.
                command = (
                    commands.ToggleLatent(site, latent) if len(nodes) > 1 or whole else commands.ToggleNode(nodes[0])
                )
                self._submit(command)
            case NodeRow(_, _, node):
                self._submit(commands.ToggleNode(node))

    def action_toggle_site(self) -> None:
        row = self.query_one(CircuitTable).current
        if row is not None:
            self._submit(commands.ToggleSite(row.site))

    def action_invert(self) -> None:
        self._submit(commands.Invert())

    def action_only(self) -> None:
        table = self.query_one(CircuitTable)
        circuit = self._shown.circuit
        if table.model is None or circuit is None:
            return
        listed = table.model.listed
        nodes = listed if table.model.show_all else tuple(i for i in listed if circuit.kept[i])
        self._submit(commands.KeepOnly(nodes))

    def action_undo(self) -> None:
        self._submit(commands.Undo())

    def action_redo(self) -> None:
        self._submit(commands.Redo())

    def action_show_all(self) -> None:
        table = self.query_one(CircuitTable)
        if table.model is not None:
            table.relist(show_all=not table.model.show_all)

    def action_filter(self) -> None:
        if self._shown.phase == "ready":
            self._show_pane("circuit")
            self.call_after_refresh(self.query_one(CircuitPane).open_filter)

    def action_clear_filter(self) -> None:
        if isinstance(self.focused, FilterInput) or self._pane == "circuit":
            self.query_one(CircuitPane).close_filter(clear=True)
        elif self._shown.phase == "ready":
            self._home(self._pane).focus()

    def action_sort(self, step: int) -> None:
        self.query_one(CircuitTable).next_column(step)

    def action_reverse(self) -> None:
        table = self.query_one(CircuitTable)
        if table.model is not None:
            table.relist(reverse=not table.model.reverse)

    def action_start(self) -> None:
        if self._shown.phase != "ready":
            return
        try:
            order = self.query_one(SearchPane).form.order()
        except UserError as error:
            self.post_message(Notice(str(error), "error"))
            return
        self._submit(order)
        if self._pane != "search" and not self._wide:
            self.action_pane("search")

    def action_pause(self) -> None:
        self._submit(commands.PauseSearch())

    def action_stop(self) -> None:
        self._submit(commands.StopSearch())

    def action_report(self) -> None:
        self.query_one(SearchPane).flip()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        {"start": self.action_start, "pause": self.action_pause, "stop": self.action_stop}[event.button.id or ""]()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_start()
        self._home("search").focus()

    def action_snapshot(self) -> None:
        circuit = self._shown.circuit
        if circuit is None:
            return
        name = f"snapshot {len(circuit.snapshots) + 1}"

        def save(answer: str | None) -> None:
            if answer:
                self._submit(commands.SaveSnapshot(answer))

        self.app.push_screen(AskText("Name this circuit", name, "enter saves it   esc cancels"), save)

    def action_compare(self) -> None:
        circuit, table = self._shown.circuit, self._shown.table
        if circuit is None or table is None:
            return
        if not circuit.snapshots:
            self.post_message(Notice("There is no snapshot yet; n makes one of the current circuit.", "warning"))
            return

        def done(answer: tuple[str, str] | None) -> None:
            if answer:
                self._submit(commands.RestoreSnapshot(answer[1]))

        self.app.push_screen(CompareScreen(circuit.snapshots, table), done)

    def compare_with(self, name: str) -> None:
        """Ask for the comparison with a snapshot."""
        self._submit(commands.CompareSnapshot(name))

    def action_export(self) -> None:
        self.ask_export(then_quit=False)

    def ask_export(self, *, then_quit: bool) -> None:
        """Ask for a path and export to it."""
        info = self._shown.info
        if info is None:
            return
        name = str(self._out or f"{_file_name(info.task)}.circuit.json")

        def export(answer: str | None) -> None:
            if answer:
                self.app.quit_after_export = then_quit
                self._submit(commands.Export(Path(answer).expanduser()))

        self.app.push_screen(AskText("Export the circuit to", name, "enter writes the file   esc cancels"), export)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    def action_theme(self) -> None:
        self.app.next_theme()

    def action_leave(self) -> None:
        self.app.action_leave()

    @property
    def unsaved(self) -> int | None:
        """The size of a circuit that quitting would lose, or None."""
        circuit = self._shown.circuit
        return circuit.size if circuit is not None and circuit.dirty else None


def _with_search(state: EngineState, shown: EngineState) -> EngineState:
    from dataclasses import replace

    return replace(state, search=shown.search)


def _positions_of(state: EngineState, site: int, latent: int) -> int:
    table = state.table
    assert table is not None
    return sum(1 for s, k in zip(table.site, table.latent, strict=True) if (s, k) == (site, latent))


def _file_name(task: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(task).stem) or "circuit"
