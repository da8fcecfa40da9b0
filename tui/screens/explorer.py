"""The explorer's main screen: turns keys into commands for the engine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.widgets import Button, Input

from circuit_tui.core.errors import UserError
from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow, SiteRow
from circuit_tui.tui.drawing.number_text import amount
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.messages import Exported, ForeignFile, NodeChosen, Notice, PromptChosen, StateChanged
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.explorer_protocol import Explorer
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.compare import CompareScreen
from circuit_tui.tui.screens.confirm_replace import ConfirmReplace
from circuit_tui.tui.screens.export_to import ExportTo, offered
from circuit_tui.tui.screens.exporting import export_offers, keep_copied, row_text
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.screens.latent_screen import LatentScreen
from circuit_tui.tui.widgets.attribution_list import AttributionList
from circuit_tui.tui.widgets.circuit_pane import FilterInput
from circuit_tui.tui.widgets.circuits_pane import CircuitFiles
from circuit_tui.tui.widgets.edges_pane import EdgesPane
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.panes import PAIR

CHART_RATE = 4.0  # chart frames per second
SLOW_CHART_RATE = 2.0
CURSOR_REST = 0.06  # seconds the cursor rests before the latent under it is asked for


class ExplorerScreen(LatentScreen):
    """Says what each key does to the circuit, the search and the audit."""

    AUTO_FOCUS = "#circuit-table"
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in ACTIONS]

    def __init__(self, explorer: Explorer, options: ExplorerOptions) -> None:
        super().__init__(explorer, options)
        self.chart_rate = SLOW_CHART_RATE if options.low_bandwidth else CHART_RATE
        self._out, self._audit_text = options.out, options.text
        self._force = options.force
        self._quit_after_export = False

    def on_mount(self) -> None:
        self.set_interval(1 / self.chart_rate, self.presenter.tick)
        # The engine's imports hold the interpreter for a long time, so the first frame goes out before them.
        self.when_drawn(self.explorer.begin)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """What quitting would lose, a line for each; empty if nothing has changed since the last export or opening."""
        state = self.explorer.engine.state  # newer than what is shown
        circuit, audit = state.circuit, state.audit
        if circuit is None or not circuit.dirty:
            return ()
        parts = [f"a circuit of {amount(circuit.size, 'node')}"] if circuit.size or not circuit.snapshots else []
        if audit is not None and audit.findings:
            parts.append("its audit")
        if names := circuit.snapshots:
            parts.append(f"{amount(len(names), 'snapshot')}: {', '.join(names)}")
        return tuple(parts)

    # Messages from the engine and the panes

    def on_state_changed(self, event: StateChanged) -> None:
        event.stop()
        self.presenter.show_state(charts=False)

    def on_circuit_table_cursor_moved(self) -> None:
        if self.panes.visible_pane("latent") or self.panes.visible_pane("edges"):
            at = self.panes.circuit.table.cursor
            self.set_timer(CURSOR_REST, lambda: self._cursor_rested(at))

    def _cursor_rested(self, at: int) -> None:
        # If it has moved on since, a later call asks.
        if self.panes.circuit.table.cursor == at:
            if self.panes.visible_pane("edges"):
                self.presenter.follow_cursor()
            if self.panes.visible_pane("latent"):
                self.presenter.ask_latent()

    def on_circuit_table_opened(self) -> None:
        if not self.panes.visible_pane("latent"):
            self.action_pane("latent")

    def on_circuit_table_listed(self) -> None:
        self.presenter.show_tabs()

    def on_prompt_chosen(self, event: PromptChosen) -> None:
        self.presenter.prompt = event.index
        self.presenter.ask_views()

    def on_node_chosen(self, event: NodeChosen) -> None:
        self.panes.circuit.table.reveal(event.node)
        self.action_pane("circuit")

    def on_try_pane_asked(self) -> None:
        self.presenter.ask_views()

    def on_attribution_list_opened(self, event: AttributionList.Opened) -> None:
        self._submit(commands.ExpandTarget(event.target))

    def on_circuit_files_chosen(self, event: CircuitFiles.Chosen) -> None:
        result, path = self.panes.circuits.result(event.row), event.row.path
        if result is not None:
            self._submit(commands.Adopt(result))
        elif path is not None:
            self._submit(commands.OpenCircuit(path))

    def on_frontier_pane_chosen(self, event: FrontierPane.Chosen) -> None:
        self._submit(commands.LoadFrontier(event.size))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        {"start": self.action_start, "pause": self.action_pause, "stop": self.action_stop}[event.button.id or ""]()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_start()
        self.panes.home("search").focus()

    def on_exported(self, event: Exported) -> None:
        replaced = f", in place of a {event.replaced}" if event.replaced else ""
        self.notify(f"Wrote {event.path}{replaced}", timeout=10)
        if self.panes.visible_pane("circuits"):
            self.presenter.list_circuits()
        if self._quit_after_export:
            self.explorer.action_leave()  # asks again about what the file does not hold

    def on_opened_another(self) -> None:
        self.explorer.begin_anew()

    def on_foreign_file(self, event: ForeignFile) -> None:
        def replace(answer: bool | None) -> None:
            if answer:
                self._submit(event.forced)

        self.app.push_screen(ConfirmReplace(event.forced.path), replace)

    # The circuit

    def _switch_edge(self) -> None:
        edge = self.panes.edges.current
        if edge is None:
            self.post_message(Notice("No edge is under the cursor.", "warning"))
        else:
            self._submit(commands.SwitchEdge(edge.source, edge.target))

    def on_edge_list_looked(self) -> None:
        self.presenter.ask_edges()

    def on_edges_pane_score_wanted(self, event: EdgesPane.ScoreWanted) -> None:
        self._submit(commands.ExplainEdge(event.source, event.target, event.head))

    def on_edge_graph_view_looked(self) -> None:
        self.presenter.ask_edges()

    def action_switch(self) -> None:
        if self.panes.current == "edges":
            self._switch_edge()
            return
        row = self._visible_row()
        match row:
            case SiteRow(site):
                self._submit(commands.ToggleSite(site))
            case LatentRow(site, latent, nodes):
                # If the list shows one of several positions, only that one is switched: nothing unseen changes.
                one = len(nodes) == 1
                self._submit(commands.ToggleNode(nodes[0]) if one else commands.ToggleLatent(site, latent))
            case NodeRow(_, _, node):
                self._submit(commands.ToggleNode(node))

    def action_toggle_site(self) -> None:
        row = self._visible_row()
        if row is not None:
            self._submit(commands.ToggleSite(row.site))

    def action_invert(self) -> None:
        self._submit(commands.Invert())

    def action_only(self) -> None:
        table = self.panes.circuit.table
        circuit = self.shown.circuit
        if table.model is None or circuit is None:
            return
        if not self.panes.visible_pane("circuit"):
            self.post_message(Notice("No list is seen here: o keeps what the circuit pane (1) lists.", "warning"))
            return
        listed = table.model.listed
        nodes = listed if table.model.show_all else tuple(i for i in listed if circuit.kept[i])
        self._submit(commands.KeepOnly(nodes))

    def action_undo(self) -> None:
        self._submit(commands.Undo())

    def action_redo(self) -> None:
        self._submit(commands.Redo())

    def action_show_all(self) -> None:
        table = self.panes.circuit.table
        if table.model is not None:
            table.relist(show_all=not table.model.show_all)

    def action_filter(self) -> None:
        if self.ready():
            self.show_pane("circuit")
            self.panes.circuit.open_filter()

    def action_clear_filter(self) -> None:
        if isinstance(self.focused, FilterInput) or self.panes.current == "circuit":
            self.panes.circuit.close_filter(clear=True)
        elif self.shown.phase == "ready":
            self.panes.home(self.panes.current).focus()

    def action_sort(self, step: int) -> None:
        self.panes.circuit.table.next_column(step)

    def action_reverse(self) -> None:
        table = self.panes.circuit.table
        if table.model is not None:
            table.relist(reverse=not table.model.reverse)

    def action_start(self) -> None:
        if not self.ready():
            return
        try:
            spec = self.panes.search.form.spec()
        except UserError as error:
            self.post_message(Notice(str(error), "error"))
            return
        self._submit(commands.StartSearch(spec))
        if self.panes.arrangement == "all" and self.panes.current in PAIR:
            self.panes.raise_search()
            self.panes_changed()
        elif self.panes.current != "search":
            self.action_pane("search")

    def action_pause(self) -> None:
        self._submit(commands.PauseSearch())

    def action_stop(self) -> None:
        self._submit(commands.StopSearch())

    def action_leave_running(self) -> None:
        self.explorer.leave_search_running()

    def action_jobs(self) -> None:
        if self.ready():
            self.explorer.show_jobs()

    def action_report(self) -> None:
        if self.panes.current == "edges":
            self.panes.edges.flip()
        else:
            self.panes.search.flip()

    def action_audit(self) -> None:
        if not self.ready():
            return
        audit = self.shown.audit
        running = audit is not None and audit.progress is not None
        if running:
            self._submit(commands.StopAudit())
        else:
            self._audit()

    def action_audit_full(self) -> None:
        if self.ready():
            self._audit(full=True)

    def _audit(self, *, full: bool = False) -> None:
        audit = self.shown.audit
        full = full or (audit is not None and not audit.quick)  # a quick audit never replaces one that took minutes
        self._submit(commands.StartAudit(self._audit_text, full))
        self.action_pane("audit")

    def action_audit_text(self) -> None:
        if not self.ready():
            return

        def audit(answer: str | None) -> None:
            text = Path(answer or "").expanduser()
            if answer and not text.is_file():
                self.post_message(Notice(f"{text}: no such file", "error"))
            elif answer:
                self._audit_text = text
                self._audit()

        before = str(self._audit_text or "")
        title = "A text file to measure the cost of the SAEs on"
        self.app.push_screen(AskText(title, before, "enter audits   esc cancels"), audit)

    def action_snapshot(self) -> None:
        circuit = self.shown.circuit
        if not self.ready() or circuit is None:
            return
        name = f"snapshot {len(circuit.snapshots) + 1}"

        def save(answer: str | None) -> None:
            if answer:
                self._submit(commands.SaveSnapshot(answer))

        self.app.push_screen(AskText("Name this circuit", name, "enter saves it   esc cancels"), save)

    def action_compare(self) -> None:
        if self.panes.current == "circuits":
            self.panes.circuits.compare()
            return
        circuit, table = self.shown.circuit, self.shown.table
        if not self.ready() or circuit is None or table is None:
            return
        if not circuit.snapshots:
            self.post_message(Notice("There is no snapshot yet; w saves one of the current circuit.", "warning"))
            return

        def compare(name: str) -> None:
            self._submit(commands.CompareSnapshot(name))

        def done(name: str | None) -> None:
            if name is not None:
                self._submit(commands.RestoreSnapshot(name))

        self.app.push_screen(CompareScreen(circuit.snapshots, table, compare), done)

    def action_export(self) -> None:
        self.ask_export(then_quit=False)

    def ask_export(self, *, then_quit: bool) -> None:
        """Ask for a path, and write there what its ending asks for."""
        if not self.ready():
            return
        offers = export_offers(self.panes, self.shown, self._out, force=self._force)

        def export(answer: str | None) -> None:
            if answer:
                self._quit_after_export = then_quit
                self._submit(offered(offers, answer).command(Path(answer).expanduser()))

        self.app.push_screen(ExportTo(offers), export)

    def action_copy(self) -> None:
        text = row_text(self.panes, self.shown) if self.ready() else ""
        if text:
            self.app.copy_to_clipboard(text)
            self.post_message(Notice(keep_copied(text, self.explorer.state_folder)))
        elif self.shown.phase == "ready":
            self.post_message(Notice("There is no row to copy here.", "warning"))

    def action_intervals(self) -> None:
        self._submit(commands.AskIntervals())

    def action_open(self) -> None:
        if self.shown.phase == "loading":
            self.ready()  # says so
        else:
            row = self.panes.circuits.files.current if self.panes.current == "circuits" else None
            self.explorer.open_another(None if row is None else row.path)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    def action_theme(self) -> None:
        self.explorer.next_theme()
