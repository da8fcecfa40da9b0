"""Some prompts of one split, ready to run from the first site on, with the constants of the splice at each site.

A *column* is a token index of a batch, taken over all of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.models.shared_prefixes import PrefixTree, SharedPrefixRunner, runner_of_tree
from circuit_tui.core.runtime.sending import send
from circuit_tui.core.splice.ablation import ReferenceTable
from circuit_tui.core.splice.batch_shape import BatchShape
from circuit_tui.core.splice.nodes import Pack
from circuit_tui.core.splice.position_groups import PositionGroups
from circuit_tui.core.tasks.answers import Answers

Reads = tuple[frozenset[int] | None, ...]
"""For each of the first sites the position ids at which its output depends on its input; None for all."""
MAX_TREES = 32
"""For how many circuits' occupied positions a batch keeps which tokens are alike."""
MAX_COLUMN_SETS, MAX_COLUMN_SETS_BY_TOKEN = 64, 4
"""For how many sets of columns a batch keeps the constants; the second where each token has constants of its own."""
MAX_REPEATED = 3
"""For how many numbers of circuits a batch is kept with its prompts once for each."""


@dataclass(frozen=True, slots=True)
class PreparedSplit:
    """All clean prompts of a split, run up to the first site.

    Attributes:
        tokens: `[row, position]` the tokens, anything at padding.
        prefix: `[row, position, d_model]`, the residual entering the first site: no mask can change it.
        ids: `[row, position]` position id, negative where nothing is spliced.
        reference_rows: `[row, position]` the row of the reference table that each token takes.
        reference_row_of_group: `[group]` the row of each position id where it alone decides the row, else None.
        errors: for each site the vector added after the splice, `[row, position, d_out]`, or None where dropped.
        lengths: `[row]` real tokens of each row.
        answers: the answers, and where in the rows they are read.
        plain_logits: `[read, vocab]` float32 logits of M where the answers are read.
    """

    tokens: Tensor
    prefix: Tensor
    ids: Tensor
    reference_rows: Tensor
    reference_row_of_group: Tensor | None
    errors: tuple[Tensor | None, ...]
    lengths: Tensor
    answers: Answers
    plain_logits: Tensor

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.answers)

    @property
    def prompt_lengths(self) -> Tensor:
        """The length of each prompt's longest row, `[prompt]`."""
        return self.lengths.reshape(len(self), -1).amax(1)


class TokenConstants(NamedTuple):
    """Constants of each token of a batch, known before anything runs.

    Attributes:
        ids: `[row, position]` position id, negative where nothing is spliced.
        reference_rows: `[row, position]` the row of the reference table that each token takes.
        reference_row_of_group: `[group]` the row of each position id where it alone decides the row, else None.
        errors: for each site the vector added after the splice, `[row, position, d_out]`, or None where dropped.
        tables: for each site its reference table.
        n_positions: number of position ids.
        transformed: for each site whether its SAE has a transform (`saes/sae_transform.py`).
    """

    ids: Tensor
    reference_rows: Tensor
    reference_row_of_group: Tensor | None
    errors: tuple[Tensor | None, ...]
    tables: Sequence[ReferenceTable]
    n_positions: int
    transformed: Sequence[bool]


class Columns(NamedTuple):
    """Some columns of a batch, and what the host knows of their tokens.

    Attributes:
        indices: `[column]` the columns, ascending.
        positions: `[present]` on the CPU: the position ids that have a token there, ascending.
        group_width: the most tokens that one of them has there, over all rows.
    """

    indices: Tensor
    positions: Tensor
    group_width: int


class SpliceConstants:
    """The tokens of some prompts, in all columns or in some, with the splice's constants at each site.

    Attributes:
        position_groups: the tokens grouped by position.
        errors: for each site the error `[row, column, d_out]`, None where dropped.
        base: for each site what the empty circuit decodes to, `[group, 1 or token, d_out]`; with the error, unless the
            site's SAE has a transform.
        errors_after_transform: for each site the error `[group, token, d_out]` that is added after the transform, None
            where dropped or part of `base`.
        group_of: `[position id]` on the CPU: the group of each position, -1 where it has no token here. None if groups
            are position ids.
    """

    def __init__(self, tokens: TokenConstants, columns: Columns | None = None, group_width: int | None = None) -> None:
        ids, reference_rows, row_of_group, errors, tables, n_groups, transformed = tokens
        self.group_of: Tensor | None = None
        if columns is not None:
            indices, positions, group_width = columns
            ids, reference_rows = ids.index_select(1, indices), reference_rows.index_select(1, indices)
            errors = tuple(None if error is None else error.index_select(1, indices) for error in errors)
            n_groups = len(positions)
            self.group_of = torch.full((tokens.n_positions,), -1)
            self.group_of[positions] = torch.arange(n_groups)
            present = send(positions, ids.device)
            ids = torch.where(ids >= 0, torch.searchsorted(present, ids.clamp(min=0)), ids)
            row_of_group = None if row_of_group is None else row_of_group.index_select(0, present)
        self.errors, self._tables = errors, tables
        self.position_groups = PositionGroups(ids, n_groups, group_width)
        if row_of_group is not None:
            self._reference_rows = row_of_group.unsqueeze(1)
        else:
            grouped_rows = reference_rows.reshape(-1)[self.position_groups.gather_index]
            self._reference_rows = grouped_rows.clamp(min=0).reshape(n_groups, -1)
        grouped = [None if error is None else self.position_groups.group(error) for error in errors]
        self.errors_after_transform = [
            error if late else None for error, late in zip(grouped, transformed, strict=True)
        ]
        self.base = [
            self._base(site, None if late else error)
            for site, (error, late) in enumerate(zip(grouped, transformed, strict=True))
        ]

    def references(self, site: int, pack: Pack) -> tuple[Tensor, ...]:
        """Reference activations `[group, 1 or token, slot]` of each padded group of `pack`, at site number `site`."""
        rows = self._reference_rows if pack.order is None else self._reference_rows[pack.order]
        values = self._tables[site].values
        return tuple(
            values[rows.unsqueeze(2)[padded_group.groups], padded_group.latents.unsqueeze(1)]
            for padded_group in pack.padded_groups
        )

    def _base(self, site: int, error: Tensor | None) -> Tensor:
        base = self._tables[site].base[self._reference_rows]
        return base if error is None else base + error


def _without_trailing_none(reads: Reads) -> Reads:
    """`reads` without the last sites at which everything is read: behind these tokens are as alike as before."""
    while reads and reads[-1] is None:
        reads = reads[:-1]
    return reads


class TokenColumns:
    """Sets of columns of one batch: which token indices have what in some row. A set is a frozenset of indices.

    Args:
        tokens: the batch's.
        real: `[row, position]` bool, false for padding.
        read_columns: `[read]` token indices at which answers are read.

    Attributes:
        all: all columns.
        unspliced: columns where some row has a real token that is not spliced.
        read: columns where some answer is read.
    """

    def __init__(self, tokens: TokenConstants, real: Tensor, read_columns: Tensor) -> None:
        self._tokens, self._device = tokens, real.device
        width = real.shape[1]
        ids = torch.where(tokens.ids >= 0, tokens.ids, tokens.n_positions)
        ids = torch.where(real, ids, tokens.n_positions + 1).cpu()  # the last row counts padding
        counts = torch.zeros(tokens.n_positions + 2, width, dtype=torch.long)
        counts.scatter_add_(0, ids, torch.ones_like(ids))
        self._counts = counts[:-2]
        *positions, unspliced = (frozenset(row.nonzero()[:, 0].tolist()) for row in counts[:-1])
        self._positions = positions
        self.all, self.unspliced = frozenset(range(width)), unspliced
        self.read = frozenset(read_columns.unique().tolist())
        self._indices: dict[frozenset[int], Tensor] = {}
        self._constants: dict[frozenset[int], SpliceConstants] = {}
        by_token = tokens.reference_row_of_group is None or any(error is not None for error in tokens.errors)
        self._max_constants = MAX_COLUMN_SETS_BY_TOKEN if by_token else MAX_COLUMN_SETS

    def with_positions(self, positions: Iterable[int]) -> frozenset[int]:
        """Columns at which any prompt has one of the position ids `positions`."""
        return frozenset().union(*(self._positions[position] for position in positions))

    def indices(self, columns: frozenset[int]) -> Tensor:
        """The set `columns` as `[column]`, ascending."""
        if columns not in self._indices:
            self._indices[columns] = send(torch.tensor(sorted(columns), dtype=torch.long), self._device)
        return self._indices[columns]

    def constants(self, columns: frozenset[int]) -> SpliceConstants:
        """The tokens in `columns`, ready for the splice."""
        if columns not in self._constants:
            while len(self._constants) >= self._max_constants:
                del self._constants[next(iter(self._constants))]
            counts = self._counts[:, sorted(columns)].sum(1)
            positions, width = counts.nonzero()[:, 0], int(counts.max()) if len(counts) else 0
            chosen = Columns(self.indices(columns), positions, max(1, width))
            self._constants[columns] = SpliceConstants(self._tokens, chosen)
        return self._constants[columns]


class Batch(SpliceConstants):
    """The prompts `prompts` `[prompt]` of a split, ready to run.

    Attributes:
        recompute: whether a backward pass computes activations again instead of keeping them, to save memory.
        n_circuits: how many circuits run on it; their rows come one circuit after the other.
        rows: `[row]` the prompts' rows among all of the split, prompt by prompt.
        lengths: `[row]` real tokens of each row.
        prefix: `[row, position, d_model]` the residual entering the first site.
        ids, reference_rows: `[row, position]` as in `PreparedSplit`.
        answers: the answers of these prompts; `reads` `[read]` are their reads among all of the split.
        read_rows, read_columns: `[read]` row and token index of each read.

    With a `shape` it is made, and runs, without asking the device anything; rows must be padded on the right.
    """

    def __init__(
        self,
        split: PreparedSplit,
        prompts: Tensor,
        tables: Sequence[ReferenceTable],
        n_positions: int,
        transformed: Sequence[bool],
        recompute: bool = False,
        shape: BatchShape | None = None,
        n_circuits: int = 1,
    ) -> None:
        self.prompts, self.recompute, self.n_circuits = prompts, recompute, n_circuits
        self._split, self._shape = split, shape
        self.rows = split.answers.rows_of(prompts)
        self.lengths = split.lengths[self.rows]
        if shape is None:
            width = int(self.lengths.max())
            self.answers, self.reads = split.answers.select(prompts)
        else:
            width = shape.width
            self.answers, self.reads = shape.answers.select_evenly(prompts)
        self.prefix = split.prefix[self.rows, :width]
        self.read_rows, self.read_columns = self.answers.read_rows, self.answers.read_columns
        self._token_numbers = split.tokens[self.rows, :width]
        errors = tuple(None if error is None else error[self.rows, :width] for error in split.errors)
        ids, reference_rows = split.ids[self.rows, :width], split.reference_rows[self.rows, :width]
        self.ids, self.reference_rows = ids, reference_rows
        self._tokens = TokenConstants(
            ids, reference_rows, split.reference_row_of_group, errors, tables, n_positions, transformed
        )
        super().__init__(self._tokens, group_width=None if shape is None else shape.group_width)
        self._runner: BlockRunner | None = None
        self._trees: dict[Reads, PrefixTree] = {}
        self._repeated = dict[int, Batch]()

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.prompts)

    def of_circuits(self, n: int) -> Batch:
        """Returns these prompts once for each of `n` circuits, one circuit after the other; itself for one.

        Prompt, row and read number i of circuit c is number c times all + i. That holds for reads of first differences,
        and for all other reads behind these.
        """
        if n == 1:
            return self
        if n not in self._repeated:
            while len(self._repeated) >= MAX_REPEATED:
                del self._repeated[next(iter(self._repeated))]
            tokens = self._tokens
            self._repeated[n] = Batch(
                self._split, self.prompts.repeat(n), tokens.tables, tokens.n_positions, tokens.transformed, n_circuits=n
            )
        return self._repeated[n]

    def forget_circuits(self) -> None:
        """Frees what `of_circuits` has made."""
        self._repeated.clear()

    def runner(self, model: LanguageModel) -> BlockRunner:
        """Returns what runs the blocks of `model` on circuits over this batch, the same one at every call.

        It may run rows that begin alike once: tokens with the same reference behind such tokens have the same residual
        under every circuit. An error may differ between them, as rounding does.
        """
        if self._shape is not None:
            return model
        if self._runner is None:
            self._runner = self._runner_of(model, ())
        return self._runner

    @cached_property
    def prompts_on_cpu(self) -> Tensor:
        """`prompts` on the CPU."""
        return self.prompts.cpu()

    @cached_property
    def read_positions(self) -> Tensor:
        """Position ids at which answers are read, `[position]` on the CPU; those of the whole split with a `shape`."""
        if self._shape is not None:
            return self._shape.read_positions
        return self.ids[self.read_rows, self.read_columns].cpu()

    def runner_behind(self, model: LanguageModel, reads: Reads) -> BlockRunner:
        """Returns what runs the blocks of `model` behind the first `len(reads)` sites.

        `reads` has for each of them the position ids at which its output depends on its input, None for all. At every
        other position it gives all tokens of one reference the same output, whatever they were: behind these they are
        alike, and a circuit of few nodes runs few tokens.
        """
        reads = _without_trailing_none(reads)
        return self._runner_of(model, reads) if reads and self._shape is None else self.runner(model)

    def _runner_of(self, model: LanguageModel, reads: Reads) -> BlockRunner:
        if any(error is not None for error in self._tokens.errors):
            return runner_for(model, self.lengths)
        return runner_of_tree(model, self.lengths, lambda: self._tree(reads))

    def _tree(self, reads: Reads) -> PrefixTree:
        """The different tokens behind the first `len(reads)` sites."""
        if reads not in self._trees:
            ids = self._tokens.ids
            if reads and (read := reads[-1]) is not None:
                own = self._tree(_without_trailing_none(reads[:-1])).token_of
                keeps = ids < 0
                for position in read:
                    keeps |= ids == position
                own = torch.where(keeps, own, -1)
            else:
                own = self._token_numbers
            while len(self._trees) >= MAX_TREES:
                del self._trees[next(iter(self._trees))]
            kinds = [own, ids, self._tokens.reference_rows]
            if self.n_circuits > 1:
                circuit = torch.arange(len(self.rows), device=ids.device) // (len(self.rows) // self.n_circuits)
                kinds.append(circuit.unsqueeze(1).expand_as(ids))
            self._trees[reads] = PrefixTree.of(torch.stack(kinds, dim=2))
        return self._trees[reads]

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all rows, padding included."""
        return self.prefix.shape[0] * self.prefix.shape[1]

    def share_run(self, model: LanguageModel) -> float:
        """How many tokens `runner` runs for each token of the batch."""
        runner = self.runner(model)
        return runner.tree.share if isinstance(runner, SharedPrefixRunner) else 1.0

    @cached_property
    def columns(self) -> TokenColumns:
        """Which columns have tokens of each position, and which are read."""
        real = torch.arange(self.prefix.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(1)
        return TokenColumns(self._tokens, real, self.read_columns)

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Returns log P(right) - log P(wrong), `[prompt]`, of logits `[read, vocab]` (see `tasks/answers.py`)."""
        return self.answers.logit_difference(logits)
