"""The keys that are about the list of latents: where it goes, and what the user says of a latent."""

from __future__ import annotations

from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.address import Address, parse_address
from circuit_tui.core.latents.annotations import (
    AnnotationEdit,
    DeleteGroup,
    SaveGroup,
    SetLabel,
    SetNote,
    ToggleMarks,
)
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow, Row, SiteRow
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.groups import GroupsScreen
from circuit_tui.tui.screens.name_latent import NameLatent
from circuit_tui.tui.screens.pane_screen import PaneScreen


class LatentScreen(PaneScreen):
    """Moves in the list, and turns labels, marks and groups into commands for the engine."""

    _text = ""  # the file that was looked through last

    def _submit(self, command: commands.Command) -> None:
        if self.ready():
            self.explorer.engine.submit(command)

    def _visible_row(self) -> Row | None:
        """The row under the circuit pane's cursor; None, with a notice, where the user does not see which one it is."""
        row, panes = self.panes.circuit.table.current, self.panes
        seen = panes.visible_pane("circuit") or (panes.current == "latent" and not isinstance(row, SiteRow))
        if self.ready() and not seen:
            self.post_message(Notice("Nothing to switch here: the circuit pane (1) has the nodes.", "warning"))
        return row if seen else None

    def _visible_latent(self) -> LatentRow | NodeRow | None:
        """The latent or node under the cursor; None, with a notice, if it is on the heading of a site."""
        row = self._visible_row()
        if isinstance(row, SiteRow):
            self.post_message(Notice("Put the cursor on a latent first.", "warning"))
            return None
        return row

    def action_latent_prompts(self) -> None:
        row, table = self._visible_latent(), self.shown.table
        if row is not None and table is not None:
            # All positions of the latent, as the latent pane shows all.
            self._submit(commands.ShowLatentPrompts(Address(row.site, row.latent).nodes(table)))
            self.action_pane("latent")

    def action_text_examples(self) -> None:
        row = self._visible_latent()
        if row is None:
            return

        def look(answer: str | None) -> None:
            if answer:
                self._text = answer
                path = Path(answer).expanduser()
                self._submit(commands.ShowTextExamples(row.site, row.latent, path))
                self.action_pane("latent")

        title = "A text file in which to look where the latent fires"
        self.app.push_screen(AskText(title, self._text, "enter looks   esc cancels"), look)

    def action_flat(self) -> None:
        table = self.panes.circuit.table
        if table.model is not None:
            table.relist(flat=not table.model.flat)

    def action_match(self, step: int) -> None:
        if self.ready() and not self.panes.circuit.table.to_match(step):
            self.post_message(Notice("No match: / filters by words first, n and N go to what it found.", "warning"))
        else:
            self.show_pane("circuit")

    def action_jump(self) -> None:
        table = self.shown.table
        if not self.ready() or table is None:
            return
        row = self.panes.circuit.table.current

        def jump(answer: str | None) -> None:
            if not answer:
                return
            try:
                address = parse_address(answer, table, None if row is None else row.site)
                node = address.nodes(table)[0]
            except UserError as error:
                self.post_message(Notice(str(error), "error"))
                return
            self.panes.circuit.table.reveal(node, latent=address.position is None)
            self.action_pane("circuit")

        self.app.push_screen(AskText("Jump to", "", "L2/210, L2/210@end, 210   enter jumps   esc cancels"), jump)

    def action_show_latent(self, site: int, latent: int) -> None:
        """Put the cursor on a latent whose number was clicked."""
        table = self.shown.table
        if not self.ready() or table is None:
            return
        try:
            self.panes.circuit.table.reveal(parse_address(str(latent), table, site).nodes(table)[0], latent=True)
        except UserError as error:
            self.post_message(Notice(str(error), "warning"))

    def _annotate(self, edit: AnnotationEdit) -> None:
        self._submit(commands.Annotate(edit))

    def action_label(self) -> None:
        row, table, said = self._visible_latent(), self.shown.table, self.shown.annotations
        if row is None or table is None or said is None:
            return
        key = (row.site, row.latent)
        before = said.own_label(*key), said.notes.get(key, "")

        def name(answer: tuple[str, str] | None) -> None:
            if answer is None:
                return
            if answer[0] != before[0]:
                self._annotate(SetLabel(*key, answer[0]))
            if answer[1] != before[1]:
                self._annotate(SetNote(*key, answer[1]))

        self.app.push_screen(NameLatent(f"{table.sites[row.site].short} {row.latent}", *before), name)

    def action_mark(self) -> None:
        if self.panes.current == "circuits":
            self.panes.circuits.mark()
            return
        row = self._visible_latent()
        if row is not None:
            self._annotate(ToggleMarks((row.node,) if isinstance(row, NodeRow) else row.nodes))

    def action_group(self) -> None:
        said = self.shown.annotations
        if not self.ready() or said is None:
            return
        if not said.marks:
            self._show_groups()
            return
        marked = tuple(sorted(said.marks))

        def save(answer: str | None) -> None:
            if answer:
                self._annotate(SaveGroup(answer, marked))
            else:
                self._show_groups()

        title = f"Name a group of {len(marked)} marked node{'s' if len(marked) > 1 else ''}"
        self.app.push_screen(AskText(title, "", "enter saves it   esc shows the groups"), save)

    def _show_groups(self) -> None:
        def switch(name: str) -> None:
            self._submit(commands.ToggleGroup(name))

        def forget(name: str) -> None:
            self._annotate(DeleteGroup(name))

        self.app.push_screen(GroupsScreen(self.shown.groups, switch, forget))
