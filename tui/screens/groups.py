"""The list of groups: how many of their nodes are on, their effects, and keys that switch or forget one."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.core.latents.annotations import GroupView
from circuit_tui.tui.drawing.line import StyledLine, widest
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_list import LineList


class GroupList(LineList):
    """One line for each group."""

    def __init__(self) -> None:
        super().__init__(id="group-list")
        self.groups: tuple[GroupView, ...] = ()

    def show(self, groups: tuple[GroupView, ...]) -> None:
        """Show `groups`."""
        if groups != self.groups:
            self.groups = groups
            self.set_length(len(groups), None)

    def line(self, index: int, width: int) -> Strip:
        view, pane_styles = self.groups[index], self.pane_styles
        total = len(view.group.nodes)
        line = StyledLine().add(" ■ ", pane_styles.group(view.group.colour))
        line.left(
            view.group.name, min(width - 40, widest((each.group.name for each in self.groups), 10)), pane_styles.strong
        )
        line.add(f"  {view.n_on} of {total} nodes on", pane_styles.plain if view.n_on == total else pane_styles.warn)
        line.pad_to(max(line.width + 2, width - 17)).add("effect ", pane_styles.muted)
        return line.right(signed(view.effect, 3, "…" if view.n_on else "–"), 8, pane_styles.change(view.effect)).strip()

    def empty_lines(self, width: int) -> list[Strip]:
        line = StyledLine().add("  There is no group. ", self.pane_styles.muted).add("m", self.pane_styles.key)
        line.add(" marks latents, ", self.pane_styles.muted).add("M", self.pane_styles.key)
        return [line.add(" then names the marked ones.", self.pane_styles.muted).strip()]


class GroupsScreen(Dialog[None]):
    """Lists the groups while it is open.

    Args:
        switch, forget: called with the name of a group.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,M", "dismiss(None)", "Close", show=False),
        Binding("space,enter", "switch", show=False),
        Binding("d", "forget", show=False),
    ]

    def __init__(
        self, groups: tuple[GroupView, ...], switch: Callable[[str], None], forget: Callable[[str], None]
    ) -> None:
        super().__init__(classes="dialog")
        self._groups, self._switch, self._forget = groups, switch, forget

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="compare-box") as box:
            box.border_title = "Groups: the effect is that of all their nodes together"
            box.border_subtitle = "space switches all of it   d forgets   esc closes"
            yield GroupList()

    def on_mount(self) -> None:
        self.show(self._groups)

    def show(self, groups: tuple[GroupView, ...]) -> None:
        """Show `groups` as they are now."""
        self.query_one(GroupList).show(groups)

    def action_switch(self) -> None:
        self._with_current(self._switch)

    def action_forget(self) -> None:
        self._with_current(self._forget)

    def _with_current(self, do: Callable[[str], None]) -> None:
        listed = self.query_one(GroupList)
        if listed.cursor < len(listed.groups):
            do(listed.groups[listed.cursor].group.name)
