"""What latents of the fake session do: tokens, push, contributions, by rules that tests can predict."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from circuit_tui.core.latents.annotations import AnnotationEdit, Annotations, GroupView, apply_annotation
from circuit_tui.core.latents.views import (
    Contributions,
    Explanation,
    LatentColumns,
    LatentPrompts,
    PromptEffect,
    TopTokens,
)

if TYPE_CHECKING:
    from fake_session import FakeSession

WORDS = (" are", " were", " is", " was", " runs", " see", " the", "ing", " boys", " girl")
SENTENCE = ("<s>", " the", " farmers", " that", " the", " boy", " sees")


def wave(i: int) -> float:
    return (i * 0.6180339887 + (i * i % 97) * 0.013) % 1.0


class FakeLatents:
    """A part of `FakeSession`. `tokens_hold` latents have their tokens, all if None."""

    tokens_hold: int | None = None
    explained: int | None = None
    explained_nodes = 0

    said = Annotations()

    @property
    def annotations(self) -> Annotations:
        return self.said

    def annotate(self: FakeSession, edit: AnnotationEdit) -> None:
        self._note(f"annotate {type(edit).__name__}")
        self.said, text = apply_annotation(edit, self.said, self.table, "2026-01-01T00:00:00Z")
        self._edit(self.kept, text)

    def groups(self: FakeSession) -> tuple[GroupView, ...]:
        views = []
        for group in self.said.groups:
            on = set(group.nodes) & self.kept
            views.append(GroupView(group, len(on), self.faithfulness(on) if on and self.complete else None))
        return tuple(views)

    def toggle_group(self: FakeSession, name: str) -> None:
        self._note(f"toggle_group {name}")
        nodes = set(self.said.group(name).nodes)
        self._edit(self.kept - nodes if nodes & self.kept else self.kept | nodes, f"group {name}")

    def latent_columns(self: FakeSession) -> LatentColumns:
        table = self.table
        latents = sorted(set(zip(table.site, table.latent, strict=True)))
        done = len(latents) if self.tokens_hold is None else self.tokens_hold
        if self._columns is None or self._columns.tokens_done != done:
            rows = tuple(
                TopTokens(site, latent, *(tuple(WORDS[(latent + s + k) % 10] for k in range(3)) for s in (site, 5)))
                for site, latent in latents[:done]
            )
            push = tuple(round(2 * wave(i + 4) - 1, 2) if table.position[i] == 3 else None for i in range(len(table)))
            chunks = (rows,) if self._columns is None else (*self._columns.tokens, rows[self._columns.tokens_done :])
            self._columns = LatentColumns(push, chunks, done, len(latents))
        return self._columns

    def explain(self: FakeSession, index: int) -> Explanation:
        self._note(f"explain {index}")
        if (self.explained, self.explained_version) != (index, self.version):
            self.explained, self.explained_version, self.explained_nodes = index, self.version, 0
        view = self.explanation()
        assert view is not None
        return view

    def explanation(self: FakeSession) -> Explanation | None:
        index = self.explained
        if index is None or self.explained_version != self.version:
            return None
        row, nodes = self._row(index), tuple(sorted(self.kept))

        def side(shift: int, done: int) -> Contributions:
            values = tuple(2 * wave(n + index + shift) - 0.6 if k < done else None for k, n in enumerate(nodes))
            complete = done >= len(nodes)
            by_token = tuple(2 * wave(index + k + shift) - 0.5 if complete else None for k in range(len(SENTENCE)))
            return Contributions(SENTENCE, row.circuit - shift, nodes, values, by_token)

        done = self.explained_nodes
        corrupt = side(3, done - len(nodes)) if done >= len(nodes) else None
        complete = done >= 2 * len(nodes)
        return Explanation(index, row.text, row.text[::-1], row.answer, row.wrong, side(0, done), corrupt, "", complete)

    def explain_work(self: FakeSession) -> bool:
        view = self.explanation()
        if view is None or view.done:
            return False
        self.explained_nodes += 5
        return True

    def latent_prompts(self: FakeSession, nodes: Collection[int]) -> LatentPrompts:
        self._note(f"latent_prompts {sorted(nodes)}")
        rows = [self._row(i) for i in range(64)]
        effects = [
            PromptEffect(r.index, r.text, r.answer, r.wrong, r.circuit, round(wave(r.index + min(nodes)) - 0.4, 3))
            for r in rows
        ]
        on = bool(set(nodes) & self.kept)
        rows = tuple(sorted(effects, key=lambda row: -abs(row.effect)))
        return LatentPrompts(tuple(sorted(nodes)), on, rows, 0.0421, (0.0317, 0.0533))
