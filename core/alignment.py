"""Which tokens share a node, and which share an ablation mean.

Three kinds (`--positions`): ``each`` names a position by the role that the task gives the token, or by its index where
there are no roles and every prompt has one length; ``end`` counts from the answer backwards; ``shared`` gives all
tokens one. BOS and padding have no position: they are left as they are and enter no statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.request import PositionsKind
from circuit_tui.core.task import Split
from circuit_tui.core.tokens import PromptSet, Side

NO_POSITION = -1


@dataclass(frozen=True, slots=True)
class Alignment:
    """The positions of a task under one kind.

    Attributes:
        kind: how positions are named.
        names: position names in reading order; a position id indexes it.
        ids: for each split, clean and corrupt position ids `[prompt, position]`, `NO_POSITION` at BOS and padding.
        means: the same for the cells over which ablation means are taken. They equal `ids` except under ``shared``,
            where a cell is (length, index): one mean for all positions would blur the prompt's structure into the
            ablation.
        n_means: how many such cells there are.
    """

    kind: PositionsKind
    names: tuple[str, ...]
    ids: dict[tuple[Split, str], Tensor]
    means: dict[tuple[Split, str], Tensor]
    n_means: int


def pick_kind(wanted: PositionsKind | None, sets: dict[Split, PromptSet]) -> PositionsKind:
    """`wanted`, or ``each`` where roles or one common length allow it, else ``shared``."""
    if wanted is not None:
        return wanted
    return "each" if _has_roles(sets) or _one_length(sets) else "shared"


def align(kind: PositionsKind, sets: dict[Split, PromptSet], task: str) -> Alignment:
    """Names the position of every token of every split.

    Raises:
        UserError: ``each`` without roles on prompts of several lengths, or a role that no train prompt has.
    """
    sides = {(split, side): getattr(prompts, side) for split, prompts in sets.items() for side in ("clean", "corrupt")}
    if kind == "each":
        if _has_roles(sets):
            names, ids = _by_role(sides, task)
        else:
            _require_one_length(sets, task)
            width = sides["train", "clean"].tokens.shape[1] - sides["train", "clean"].n_bos
            names = tuple(str(index) for index in range(width))
            ids = {key: _index(side) for key, side in sides.items()}
        return Alignment(kind, names, ids, ids, len(names))
    if kind == "end":
        names, ids = _from_end(sides)
        return Alignment(kind, names, ids, ids, len(names))
    ids = {key: torch.where(_index(side) >= 0, 0, NO_POSITION) for key, side in sides.items()}
    means, n_means = _by_length_and_index(sides)
    return Alignment(kind, ("all",), ids, means, n_means)


def _has_roles(sets: dict[Split, PromptSet]) -> bool:
    return all(all(side.roles) for prompts in sets.values() for side in (prompts.clean, prompts.corrupt))


def _one_length(sets: dict[Split, PromptSet]) -> bool:
    lengths = torch.cat([side.lengths for prompts in sets.values() for side in (prompts.clean, prompts.corrupt)])
    return bool((lengths == lengths[0]).all())


def _require_one_length(sets: dict[Split, PromptSet], task: str) -> None:
    for prompts in sets.values():
        unequal = (prompts.clean.lengths != prompts.corrupt.lengths).nonzero()
        if len(unequal):
            pair = int(unequal[0])
            raise UserError(
                f"--positions each: task {task}: clean {prompts.pairs[pair].clean!r} and its corrupt have "
                f"{int(prompts.clean.lengths[pair])} and {int(prompts.corrupt.lengths[pair])} tokens; "
                "use --positions end or shared, or name the positions in a 'roles' field"
            )
    if not _one_length(sets):
        raise UserError(
            f"--positions each: task {task}: its prompts have several token lengths and no 'roles'; "
            "use --positions end or shared"
        )


def _index(side: Side) -> Tensor:
    """Index of each real token after BOS, `[prompt, position]`."""
    index = torch.arange(side.tokens.shape[1], device=side.tokens.device).expand_as(side.tokens) - side.n_bos
    inside = (index >= 0) & (index < (side.lengths - side.n_bos).unsqueeze(1))
    return torch.where(inside, index, NO_POSITION)


def _by_role(
    sides: dict[tuple[Split, str], Side], task: str
) -> tuple[tuple[str, ...], dict[tuple[Split, str], Tensor]]:
    names: dict[str, int] = {}
    for key in (("train", "clean"), ("train", "corrupt")):
        for row in sides[key].roles:
            for role in row:
                names.setdefault(role, len(names))
    ids = {}
    for (split, name), side in sides.items():
        table = torch.full(side.tokens.shape, NO_POSITION)
        for prompt, row in enumerate(side.roles):
            unknown = [role for role in row if role not in names]
            if unknown:
                raise UserError(f"task {task}: the role {unknown[0]!r} of a {split} prompt occurs in no train prompt")
            table[prompt, side.n_bos : side.n_bos + len(row)] = torch.tensor([names[role] for role in row])
        ids[split, name] = table.to(side.tokens.device)
    return tuple(names), ids


def _from_end(sides: dict[tuple[Split, str], Side]) -> tuple[tuple[str, ...], dict[tuple[Split, str], Tensor]]:
    longest = max(
        int((sides["train", name].lengths - sides["train", name].n_bos).max()) for name in ("clean", "corrupt")
    )
    names = tuple(str(index - longest) for index in range(longest))
    ids = {}
    for key, side in sides.items():
        index = _index(side)
        back = (side.lengths - side.n_bos).unsqueeze(1) - index
        # A held-out prompt may be longer than any train prompt: its first tokens join the farthest position.
        ids[key] = torch.where(index >= 0, (longest - back).clamp(min=0), NO_POSITION)
    return names, ids


def _by_length_and_index(sides: dict[tuple[Split, str], Side]) -> tuple[dict[tuple[Split, str], Tensor], int]:
    corrupt = sides["train", "corrupt"]
    lengths: Sequence[int] = sorted({int(length) for length in corrupt.lengths})
    offsets, total = {}, 0
    for length in lengths:
        offsets[length] = total
        total += length - corrupt.n_bos
    means = {}
    for key, side in sides.items():
        index = _index(side)
        table = torch.full_like(index, NO_POSITION)
        for prompt, length in enumerate(side.lengths.tolist()):
            # A length that no corrupt train prompt has borrows the cells of the nearest length.
            nearest = min(lengths, key=lambda known: (abs(known - length), known))
            row = index[prompt].clamp(max=nearest - corrupt.n_bos - 1) + offsets[nearest]
            table[prompt] = torch.where(index[prompt] >= 0, row, NO_POSITION)
        means[key] = table
    return means, total
