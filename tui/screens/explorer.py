"""The explorer's one screen: what each key does."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.widgets import Button, Input, OptionList

from circuit_tui.core.errors import UserError
from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow, SiteRow
from circuit_tui.tui.engine import commands as commands
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.compare import CompareScreen
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.screens.live import LiveScreen
from circuit_tui.tui.widgets.circuit_pane import CircuitPane, FilterInput
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.frontier_pane import FrontierPane
from circuit_tui.tui.widgets.search_pane import SearchPane


class ExplorerScreen(LiveScreen):
    """Turns keys into commands for the engine."""

    BINDINGS: ClassVar[list[BindingType]] = [binding for action in ACTIONS for binding in action.bindings()]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Nothing goes ahead of a field that is being typed in."""
        return action != "ahead" or not isinstance(self.focused, Input | OptionList)

    def action_ahead(self, name: str) -> None:
        """Do what `name` does before the next key is looked at."""
        getattr(self, f"action_{name}")()

    def _submit(self, command: commands.Command) -> None:
        if self._ready():
            self.app.engine.submit(command)

    def _ready(self) -> bool:
        """Whether something is open; while it is being opened, a key that needs it says so."""
        if self._shown.phase == "loading":
            self.post_message(Notice("Still opening: this key works when that is done.", "warning"))
        return self._shown.phase == "ready"

    def action_switch(self) -> None:
        row = self.query_one(CircuitTable).current
        match row:
            case SiteRow(site):
                self._submit(commands.ToggleSite(site))
            case LatentRow(site, latent, nodes):
                # A list that shows one position of several switches that one: nothing unseen changes.
                one = len(nodes) == 1
                self._submit(commands.ToggleNode(nodes[0]) if one else commands.ToggleLatent(site, latent))
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
        if self._ready():
            self._show_pane("circuit")
            self.query_one(CircuitPane).open_filter()

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
        if not self._ready():
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

    def action_leave_running(self) -> None:
        if self.app.jobs:
            self.app.jobs.leave_running()

    def action_jobs(self) -> None:
        if self.app.jobs and self._ready():
            self.app.jobs.show_all()

    def action_report(self) -> None:
        self.query_one(SearchPane).flip()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        {"start": self.action_start, "pause": self.action_pause, "stop": self.action_stop}[event.button.id or ""]()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_start()
        self._home("search").focus()

    def on_frontier_pane_chosen(self, event: FrontierPane.Chosen) -> None:
        self._submit(commands.LoadFrontier(event.size))

    def action_audit(self) -> None:
        if not self._ready():
            return
        audit = self._shown.audit
        running = audit is not None and audit.progress is not None
        if running:
            self._submit(commands.StopAudit())
        else:
            self._audit()

    def action_audit_full(self) -> None:
        if self._ready():
            self._audit(full=True)

    def _audit(self, *, full: bool = False) -> None:
        audit = self._shown.audit
        full = full or (audit is not None and not audit.quick)  # what took minutes is not replaced by less
        self._submit(commands.StartAudit(self.app.audit_text, full))
        self.action_pane("audit")

    def action_audit_text(self) -> None:
        if not self._ready():
            return

        def audit(answer: str | None) -> None:
            text = Path(answer or "").expanduser()
            if answer and not text.is_file():
                self.post_message(Notice(f"{text}: no such file", "error"))
            elif answer:
                self.app.audit_text = text
                self._audit()

        before = str(self.app.audit_text or "")
        self.app.push_screen(AskText("A text file to price the SAEs on", before, "enter audits   esc cancels"), audit)

    def action_snapshot(self) -> None:
        circuit = self._shown.circuit
        if not self._ready() or circuit is None:
            return
        name = f"snapshot {len(circuit.snapshots) + 1}"

        def save(answer: str | None) -> None:
            if answer:
                self._submit(commands.SaveSnapshot(answer))

        self.app.push_screen(AskText("Name this circuit", name, "enter saves it   esc cancels"), save)

    def action_compare(self) -> None:
        circuit, table = self._shown.circuit, self._shown.table
        if not self._ready() or circuit is None or table is None:
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
        if not self._ready() or info is None:
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

    @property
    def unsaved(self) -> int | None:
        """The size of a circuit that quitting would lose, or None."""
        circuit = self._shown.circuit
        return circuit.size if circuit is not None and circuit.dirty else None


def _file_name(task: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(task).stem) or "circuit"
