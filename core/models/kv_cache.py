"""A key-value cache: it lets some tokens of a pass run again without the others.

Where the residual of a token has not changed, neither have its keys and values; the tokens that run again attend to
those. Both classes stand in for the cache that Hugging Face's attention extends when it generates text. A *column* is
a token index of a batch, taken over all of its rows.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class KvCache:
    """Records the keys and values `[prompt, head, position, d_head]` of each block in a pass over all tokens."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Records the keys and values of all tokens in block `layer`, and returns them."""
        self.layers[layer] = keys, values
        return keys, values

    def subset(self, columns: Tensor, into: KvCache | None = None) -> KvCacheSubset:
        """Returns the cache for a pass over `columns` `[column]` alone.

        The pass replaces keys and values here for a while; with `into` it leaves these as they are and records the
        whole result there.
        """
        return KvCacheSubset(self, columns, into)


class KvCacheSubset:
    """Replaces the recorded keys and values in some columns, for as long as its context lasts.

    Attributes:
        columns: `[column]` the token indices that run, ascending.
    """

    def __init__(self, recorded: KvCache, columns: Tensor, into: KvCache | None) -> None:
        self._recorded, self.columns, self._into = recorded, columns, into
        self._replaced: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> KvCacheSubset:
        """Blocks may run within it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Restores what was recorded."""
        while self._replaced:
            whole, old = self._replaced.pop()
            whole.index_copy_(2, self.columns.to(whole.device), old)

    @property
    def n_columns(self) -> int:
        """The number of recorded columns."""
        return next(iter(self._recorded.layers.values()))[0].shape[2]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Returns keys and values of all columns in block `layer`: `keys` and `values` in `columns`, else recorded.

        They may have the rows of several passes, one pass after the other: each goes on from what is recorded.
        """
        old_keys, old_values = self._recorded.layers[layer]
        n_passes = len(keys) // len(old_keys)
        if n_passes > 1:
            return self._repeated(old_keys, keys, n_passes), self._repeated(old_values, values, n_passes)
        if self._into is None:
            return self._replace(old_keys, keys), self._replace(old_values, values)
        columns = self.columns.to(keys.device)
        whole = old_keys.index_copy(2, columns, keys), old_values.index_copy(2, columns, values)
        self._into.layers[layer] = whole
        return whole

    def _repeated(self, whole: Tensor, new: Tensor, n_passes: int) -> Tensor:
        return whole.repeat(n_passes, 1, 1, 1).index_copy_(2, self.columns.to(whole.device), new)

    def _replace(self, whole: Tensor, new: Tensor) -> Tensor:
        """Writes `new` into `whole` in place: to copy all columns can take as long as to run a few."""
        columns = self.columns.to(whole.device)
        self._replaced.append((whole, whole.index_select(2, columns)))
        return whole.index_copy_(2, columns, new)


class BlockCache(Protocol):
    """What blocks take for a cache: it is handed their new keys and values, and returns those to attend to."""

    def update(self, keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Takes keys and values `[row, head, column, d_head]` of block `layer`; returns all that queries may see."""


def select_columns(value: Any, columns: Tensor, n_columns: int) -> Any:
    """Returns a block's argument from a pass over `n_columns` columns as it would be for `columns` `[column]` alone.

    A mask `[prompt, head, query, key]` keeps the queries' rows; a tensor with a position axis, `[prompt, position, …]`
    or `[position]`, keeps the positions; anything else stays.
    """
    if isinstance(value, tuple):
        return tuple(select_columns(part, columns, n_columns) for part in value)
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    axis = {1: 0, 4: 2}.get(value.dim(), 1)
    return value.index_select(axis, columns.to(value.device)) if value.shape[axis] == n_columns else value
