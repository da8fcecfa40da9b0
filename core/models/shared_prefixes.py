"""Runs tokens that are alike, behind alike tokens, once for all rows of a batch.

Under causal attention a token's residual depends on itself and on the tokens before it. Prompts made from templates
begin alike, so that a batch holds the same beginning many times: 520 prompts of six tokens have 690 different ones
instead of 3,120. The different tokens of a batch form a tree. Blocks run on its tokens, each as a row of its own, and a
stand-in for the key-value cache hands every token the keys and values of the tokens before it.

The numbers are those of a pass over all rows, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.models.block_arguments import BlockCall
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.models.rearranging_runner import RearrangingRunner

WORTH_SHARING = 2e6
"""A `LanguageModel.token_work` below which attention, row by row, takes what is saved."""
MOST_DIFFERENT = 0.8
"""The largest share of different tokens for which they are run as a tree."""


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The different tokens of some rows, those of a column behind those of the columns before it.

    Attributes:
        token_of: `[row, position]` the number of each token of each row; padding has one too.
        rows, columns: `[token]` where each token stands first.
        ancestors: `[token, position]` the tokens of its row up to itself; behind itself its own number, which its mask
            hides.
    """

    token_of: Tensor
    rows: Tensor
    columns: Tensor
    ancestors: Tensor

    @classmethod
    def of(cls, kinds: Tensor) -> PrefixTree:
        """Returns the tree of rows of tokens `kinds` `[row, position, key]`; tokens are alike if all their keys are."""
        n_rows, width, _ = kinds.shape
        numbers, firsts, columns = list[Tensor](), list[Tensor](), list[Tensor]()
        parent, n_tokens = torch.zeros(n_rows, dtype=torch.long, device=kinds.device), 0
        for column in range(width):
            keys = torch.cat([parent.unsqueeze(1), kinds[:, column]], dim=1)
            different, index = keys.unique(dim=0, return_inverse=True)
            first = torch.full((len(different),), n_rows, dtype=torch.long, device=kinds.device)
            first.scatter_reduce_(0, index, torch.arange(n_rows, device=kinds.device), "amin")
            parent = index + n_tokens
            numbers.append(parent)
            firsts.append(first)
            columns.append(torch.full_like(first, column))
            n_tokens += len(different)
        token_of, rows, at = torch.stack(numbers, 1), torch.cat(firsts), torch.cat(columns)
        own = torch.arange(n_tokens, device=kinds.device).unsqueeze(1)
        later = torch.arange(width, device=kinds.device) > at.unsqueeze(1)
        return cls(token_of, rows, at, torch.where(later, own, token_of[rows]))

    @property
    def share(self) -> float:
        """How many different tokens there are for each token of the rows."""
        return len(self.rows) / max(1, self.token_of.numel())

    def gather(self, x: Tensor) -> Tensor:
        """The different tokens of `x` `[row, position, …]`, `[token, 1, …]`."""
        return x[self.rows, self.columns].unsqueeze(1)

    def scatter(self, x: Tensor) -> Tensor:
        """The tokens of all rows, `[row, position, …]`, of `x` `[token, 1, …]`."""
        return x[:, 0].index_select(0, self.token_of.reshape(-1)).reshape(*self.token_of.shape, *x.shape[2:])


class _AncestorCache:
    """Stands in for a key-value cache: gives each token the keys and values of the tokens before it."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Returns keys and values `[token, head, position, d_head]`, of `[token, head, 1, d_head]`."""
        return self._of_ancestors(keys), self._of_ancestors(values)

    def _of_ancestors(self, x: Tensor) -> Tensor:
        n_tokens, width = self._tree.ancestors.shape
        ancestors = x[:, :, 0].index_select(0, self._tree.ancestors.reshape(-1).to(x.device))
        return ancestors.reshape(n_tokens, width, *ancestors.shape[1:]).transpose(1, 2)


class SharedPrefixRunner(RearrangingRunner):
    """Runs the blocks of `model` on the different tokens of rows padded on the right.

    It takes and returns whole rows. Rows that begin alike must have alike residuals there.
    """

    def __init__(self, model: LanguageModel, tree: PrefixTree) -> None:
        super().__init__(model)
        self.tree = tree

    @override
    def embed(self, tokens: Tensor) -> Tensor:
        return self.model.embed(tokens)

    @override
    def record(self, length: int) -> None:
        self.model.record(length)

    @override
    def run_blocks(self, resid: Tensor, start: int, stop: int) -> Tensor:
        if start == stop:
            return resid
        cache, calls = _AncestorCache(self.tree), self._calls(start, stop)
        return self.tree.scatter(self.model.run_blocks(self.tree.gather(resid), start, stop, cache, calls))

    @override
    def logits_from(self, resid: Tensor, start: int, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = torch.arange(len(resid), device=resid.device) if rows is None else rows
        cache, calls = _AncestorCache(self.tree), self._calls(start, self.n_layers)
        tokens = self.tree.token_of[rows, columns]
        none = torch.zeros_like(tokens)
        # Only reads of different tokens are run: rows that are alike to the end have the same logits.
        different, index = tokens.unique(return_inverse=True)
        logits = self.model.logits_from(self.tree.gather(resid), start, none[: len(different)], different, cache, calls)
        return logits.index_select(0, index)

    @override
    def to_block_layout(self, x: Tensor) -> Tensor:
        return self.tree.gather(x)

    @override
    def from_block_layout(self, x: Tensor) -> Tensor:
        return self.tree.scatter(x)

    def _calls(self, start: int, stop: int) -> list[BlockCall]:
        """The arguments of the blocks from `start` up to `stop` for the tree's tokens; before them, as recorded."""
        recorded = self.model.recordings.for_length(self.tree.token_of.shape[1])
        selected: dict[int, Any] = {}  # the blocks share most of their arguments
        calls = list(recorded)
        for layer in range(start, stop):
            named = {name: self._select(value, selected) for name, value in recorded[layer].named.items()}
            calls[layer] = replace(recorded[layer], named=named)
        return calls

    def _select(self, value: Any, selected: dict[int, Any]) -> Any:
        """A block's argument for rows of one token each, of that for rows of the tree's width."""
        if isinstance(value, tuple):
            return tuple(self._select(part, selected) for part in value)
        if not isinstance(value, Tensor):
            return value
        if id(value) not in selected:
            selected[id(value)] = _at_columns(value, self.tree.columns.to(value.device), self.tree.token_of.shape[1])
        return selected[id(value)]


def _at_columns(value: Tensor, columns: Tensor, width: int) -> Tensor:
    """A mask `[1, head, query, key]`, or a tensor `[1, position, …]`, with a row for each of `columns` `[token]`.

    Anything else stays as it is.
    """
    if value.dim() == 4 and value.shape[0] == 1 and value.shape[2] == width:
        return value[0].index_select(1, columns).transpose(0, 1).unsqueeze(2)
    if value.dim() in (2, 3) and value.shape[:2] == (1, width):
        return value[0].index_select(0, columns).unsqueeze(1)
    return value


def shares_prefixes(model: LanguageModel) -> bool:
    """Whether passes of `model` run alike beginnings once: it can, and its blocks are large enough for it to pay.

    On a GPU a step of this size is bound by launches, not by tokens; nothing was measured there.
    """
    pays = model.token_work >= WORTH_SHARING and all(device.type == "cpu" for device in model.devices)
    return model.can_share_prefixes and pays and model.padding_side == "right"


@torch.no_grad()
def verify_sharing(model: LanguageModel, tokens: Tensor) -> None:
    """Finds out whether `model` can run alike beginnings once: `LanguageModel.can_share_prefixes`.

    Compares the logits of `tokens` `[row, position]`, and of a row that begins like the first and ends like the last,
    with those of a plain pass.
    """
    model.can_share_prefixes = False
    width = tokens.shape[1]
    mixed = torch.cat([tokens[:1, : width // 2], tokens[-1:, width // 2 :]], dim=1)
    tokens = torch.cat([tokens, mixed]).to(model.device)
    rows = torch.arange(len(tokens), device=model.device).repeat_interleave(width)
    columns = torch.arange(width, device=model.device).repeat(len(tokens))
    plain = model.bridge(tokens, return_type="logits", use_cache=False).float().to(model.device)[rows, columns]
    calls = model.recordings.for_length(width)
    if any(call.cache_parameter is None or call.named.get("attention_mask") is None for call in calls):
        return
    runner = SharedPrefixRunner(model, PrefixTree.of(tokens.unsqueeze(2)))
    middle = model.n_layers // 2
    resid = runner.run_blocks(runner.embed(tokens), 0, middle)
    difference = float((runner.logits_from(resid, middle, columns, rows) - plain).abs().max())
    model.can_share_prefixes = difference <= model.tolerance(plain)


def shared_runner(model: LanguageModel, lengths: Tensor, kinds: Sequence[Tensor]) -> BlockRunner:
    """Returns a runner of `model` for rows of `lengths` `[row]` tokens that shares alike beginnings where that pays.

    Args:
        model: the model.
        lengths: real tokens of each row.
        kinds: `[row, position]` each; tokens are alike if all of them are.
    """
    return runner_of_tree(model, lengths, lambda: PrefixTree.of(torch.stack(list(kinds), dim=2)))


def runner_of_tree(model: LanguageModel, lengths: Tensor, tree_of: Callable[[], PrefixTree]) -> BlockRunner:
    """Returns a runner of `model` for rows of `lengths` `[row]` tokens, on the tree `tree_of()` where that pays."""
    if len(lengths) < 2 or not shares_prefixes(model):
        return runner_for(model, lengths)
    tree = tree_of()
    return SharedPrefixRunner(model, tree) if tree.share <= MOST_DIFFERENT else runner_for(model, lengths)
