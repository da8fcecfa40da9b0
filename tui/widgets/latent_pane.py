"""Everything about the latent under the cursor of the circuit pane."""

from __future__ import annotations

from pathlib import PurePath

from textual.strip import Strip

from circuit_tui.core.views import LatentView, NodeTable
from circuit_tui.tui.drawing.line import Line, beside, cut, printable
from circuit_tui.tui.widgets import latent_sections as sections
from circuit_tui.tui.widgets.lines_view import LinesView

BLANK = Strip.blank(1)


class LatentPane(LinesView):
    """Draws one `LatentView`."""

    def __init__(self) -> None:
        super().__init__(id="latent", classes="pane")
        self.border_title = "Latent"
        self._view: LatentView | None = None
        self._table: NodeTable | None = None
        self._wanted: tuple[int, int] | None = None

    def show(self, view: LatentView | None, table: NodeTable | None) -> None:
        """Show `view`; the same one again costs nothing."""
        if view is not self._view or table is not self._table:
            same = view and self._view and (view.site, view.latent) == (self._view.site, self._view.latent)
            self._view, self._table = view, table
            self.rebuild()
            if not same:
                self.scroll_to(y=0, animate=False)

    def want(self, latent: tuple[int, int] | None) -> None:
        """Say which latent is asked for."""
        fresh = (latent is None) != (self._wanted is None)
        self._wanted = latent
        if fresh:
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        view, table, ink = self._view, self._table, self.ink
        if self._wanted is None or table is None:
            text = Line().add(" Put the cursor on a latent in the circuit pane (", ink.muted)
            return [BLANK, text.add("1", ink.key).add(")", ink.muted).strip()]
        if view is None:
            return [BLANK, Line().add(" …", ink.muted).strip()]
        # Until the wanted one comes, the one before it stays: its own heading says which it is.
        site, latent = view.site, view.latent
        head = Line().add(" ").add(f"{table.sites[site].short} {latent}", ink.strong)
        label = printable(view.label) or "no label"
        head.add(cut(f"  {label}", width // 2), ink.plain if view.label else ink.muted)
        head.add(cut(f"  {_short(table.sites[site].sae_name)}", max(0, width - head.width - 1)), ink.muted)
        lines = [head.strip(), BLANK]
        for block in filter(None, self._blocks(view, width - 2)):
            lines += [Line().add(" ").join(strip).strip() for strip in block] + [BLANK]
        return lines[:-1]

    def _blocks(self, view: LatentView, width: int) -> list[list[Strip]]:
        ink, gap = self.ink, 3
        left = min(34, (width - gap) * 2 // 5)
        right = width - left - gap
        third = (width - 2 * gap) // 3
        return [
            beside([(sections.histogram(view, left, ink), left), (sections.profile(view, right, ink), right)], gap),
            sections.prompts(view, width, ink),
            sections.mask_path(view, width, ink),
            beside(
                [
                    (sections.tokens("promotes", view.promotes, third, ink), third),
                    (sections.tokens("suppresses", view.suppresses, third, ink), third),
                    (sections.neighbours(view, third, ink), third),
                ],
                gap,
            ),
            sections.more_prompts(view, width, ink),
        ]


def _short(sae: str) -> str:
    """The name of an SAE; of a folder only its own name."""
    return PurePath(sae).name if PurePath(sae).is_absolute() else sae
