"""The columns of the node table that take a while: direct push, and the tokens that latents promote and suppress.

Kept latents get their tokens first, in one go; all others follow in chunks when nothing else is left to compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from circuit_tui.core.latents.answer_push import answer_push
from circuit_tui.core.latents.top_tokens import TokenNames, latents_per_turn, top_tokens
from circuit_tui.core.latents.views import LatentColumns, TopTokens
from circuit_tui.core.models.readout import Readout
from circuit_tui.core.splice.problem import Problem


class LatentColumnsWork:
    """The columns as far as they are computed.

    Attributes:
        readout: the readout of the problem's model.
        names: the text of its tokens.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.readout, self.names = Readout(problem.model), TokenNames(problem)
        space = problem.space
        self._left = dict.fromkeys(zip(space.site.tolist(), space.latent.tolist(), strict=True))
        self._n_latents = len(self._left)
        self._push: tuple[float | None, ...] | None = None
        self._push_work = answer_push(problem, self.readout)
        self._chunks: tuple[tuple[TopTokens, ...], ...] = ()
        self._view: LatentColumns | None = None
        self._kept: Tensor | None = None  # the last circuit whose latents have all their tokens

    def view(self) -> LatentColumns:
        """Returns what is computed so far; the same object until there is more."""
        done = self._n_latents - len(self._left)
        if self._view is None or (self._view.push, self._view.tokens_done) != (self._push, done):
            self._view = LatentColumns(self._push, self._chunks, done, self._n_latents)
        return self._view

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return self._push is not None and not self._left

    def compute_kept(self, kept: Tensor) -> bool:
        """Computes the tokens of the latents in `kept` `[node]` bool that have none; returns whether there were any.

        A circuit is never changed in place: the same tensor again costs nothing.
        """
        if kept is self._kept:
            return False
        self._kept, space = kept, self._problem.space
        nodes = kept.nonzero()[:, 0]
        latents = zip(space.site[nodes].tolist(), space.latent[nodes].tolist(), strict=True)
        missing = [latent for latent in dict.fromkeys(latents) if latent in self._left]
        for chunk in self._in_chunks(missing):
            self._compute(chunk)
        return bool(missing)

    def advance_push(self) -> bool:
        """Computes one increment of the push; returns whether there was one."""
        if self._push is not None:
            return False
        try:
            next(self._push_work)
        except StopIteration as end:
            self._push = tuple(None if value != value else value for value in end.value.tolist())
        return True

    def advance_tokens(self) -> None:
        """Computes the tokens of one more chunk of latents."""
        for chunk in self._in_chunks(self._left):
            self._compute(chunk)
            return

    def complete(self) -> None:
        """Computes everything that is left."""
        while self.advance_push():
            pass
        while self._left:
            self.advance_tokens()

    def _in_chunks(self, latents: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Yields `latents` in chunks of one site each, as many as are computed at once."""
        most, chunk = latents_per_turn(self._problem), list[tuple[int, int]]()
        for latent in latents:
            if chunk and (len(chunk) == most or chunk[0][0] != latent[0]):
                yield chunk
                chunk = []
            chunk.append(latent)
        if chunk:
            yield chunk

    def _compute(self, chunk: list[tuple[int, int]]) -> None:
        site, latents = chunk[0][0], [latent for _, latent in chunk]
        self._chunks += (top_tokens(self._problem, self.readout, self.names, site, latents),)
        for latent in chunk:
            del self._left[latent]
