"""The latent pane: everything about the latent under the cursor of the circuit pane."""

from __future__ import annotations

from textual.strip import Strip

from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.latents.views import LatentPrompts
from circuit_tui.core.views import LatentView, NodeTable, TextExamples
from circuit_tui.tui.drawing.line import StyledLine, cut, name_of, printable, side_by_side, wrap
from circuit_tui.tui.widgets import latent_sections as sections
from circuit_tui.tui.widgets.lines_view import ScrollingLines

PROFILE_WIDTH = 34  # cells that the profile over positions needs: its names, a bar and two numbers
BLANK = Strip.blank(1)


class LatentPane(ScrollingLines):
    """Draws one `LatentView`."""

    def __init__(self) -> None:
        super().__init__(id="latent", classes="pane")
        self.border_title = "Latent"
        self._view: LatentView | None = None
        self._table: NodeTable | None = None
        self._matters: LatentPrompts | None = None
        self._said: Annotations | None = None
        self._in_text: TextExamples | None = None
        self._wanted: tuple[int, int] | None = None

    def show(
        self,
        view: LatentView | None,
        table: NodeTable | None,
        matters: LatentPrompts | None = None,
        said: Annotations | None = None,
        in_text: TextExamples | None = None,
    ) -> None:
        """Show `view`, where its latent matters and where it fires in a text, if these are about it.

        The same again costs nothing.
        """
        new = (view, table, matters, said, in_text)
        old = (self._view, self._table, self._matters, self._said, self._in_text)
        if any(a is not b for a, b in zip(new, old, strict=True)):
            self._matters, self._said, self._in_text = matters, said, in_text
            same = view and self._view and (view.site, view.latent) == (self._view.site, self._view.latent)
            self._view, self._table = view, table
            self.rebuild()
            if not same:
                self.scroll_to(y=0, animate=False)

    def want(self, latent: tuple[int, int] | None) -> None:
        """Note which latent, as (site, latent), the engine is asked for; None for none."""
        fresh = (latent is None) != (self._wanted is None)
        self._wanted = latent
        if fresh:
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        view, table, pane_styles = self._view, self._table, self.pane_styles
        if self._wanted is None or table is None:
            text = StyledLine().add(" Put the cursor on a latent in the circuit pane (", pane_styles.muted)
            return [BLANK, text.add("1", pane_styles.key).add(")", pane_styles.muted).strip()]
        if view is None:
            return [BLANK, StyledLine().add(" …", pane_styles.muted).strip()]
        # The latent before stays until the wanted one arrives: its heading says which latent it is.
        site, latent = view.site, view.latent
        head = StyledLine().add(" ").add(f"{table.sites[site].short} {latent}", pane_styles.strong)
        said, key = self._said or Annotations(), (view.site, view.latent)
        label = printable(said.label(*key) or view.label) or "no label"
        head.add(cut(f"  {label}", width // 2), pane_styles.muted if label == "no label" else pane_styles.plain)
        head.add(cut(f"  {name_of(table.sites[site].sae_name)}", max(0, width - head.width - 1)), pane_styles.muted)
        lines = [head.strip()]
        if key in said.notes:
            lines += [
                StyledLine().add(f" {part}", pane_styles.muted).strip() for part in wrap(said.notes[key], width - 2)
            ]
        lines.append(BLANK)
        for block in filter(None, self._blocks(view, table, width - 2)):
            lines += [StyledLine().add(" ").join(strip).strip() for strip in block] + [BLANK]
        return lines[:-1]

    def _blocks(self, view: LatentView, table: NodeTable, width: int) -> list[list[Strip]]:
        pane_styles, gap = self.pane_styles, 3
        left = min(34, (width - gap) * 2 // 5)
        right = width - left - gap
        third = (width - 2 * gap) // 3
        beside = right >= PROFILE_WIDTH
        histogram = sections.histogram(view, left if beside else width, pane_styles)
        profile = sections.profile(view, right if beside else width, pane_styles)
        matters = self._matters
        if matters is not None and not self._about(view, matters, table):
            matters = None
        hint = StyledLine().add("W", pane_styles.key).add("  shows the prompts on which it matters", pane_styles.muted)
        tokens = side_by_side(
            [
                (sections.tokens("promotes", view.promotes, third, pane_styles), third),
                (sections.tokens("suppresses", view.suppresses, third, pane_styles), third),
                (sections.neighbours(view, third, pane_styles), third),
            ],
            gap,
        )
        # Where histogram and profile are below each other, what the latent does for the answer would be out of sight.
        wide = [side_by_side([(histogram, left), (profile, right)], gap), tokens]
        first = wide if beside else [tokens, histogram, profile]
        return [
            sections.matters(matters, width, pane_styles) if matters is not None else [hint.strip()],
            *first,
            sections.answers(view, width, pane_styles),
            sections.top_examples(view, width, pane_styles),
            sections.mask_path(view, width, pane_styles),
            sections.other_examples(view, width, pane_styles),
            sections.in_text(self._in_text if self._is_of(view) else None, width, pane_styles),
        ]

    def _is_of(self, view: LatentView) -> bool:
        """Whether what is known of a text is about the latent of `view`."""
        found = self._in_text
        return found is not None and (found.site, found.latent) == (view.site, view.latent)

    @staticmethod
    def _about(view: LatentView, matters: LatentPrompts, table: NodeTable) -> bool:
        """Whether `matters` is about the latent of `view`."""
        node = matters.nodes[0]
        return (table.site[node], table.latent[node]) == (view.site, view.latent)
