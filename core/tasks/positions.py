"""Which tokens share a node, and which share an ablation mean.

There are three kinds (`--positions`): ``each`` names a position by the role that the task gives the token, or by its
index where there are no roles and all prompts have one length; ``end`` counts from the answer backwards; ``shared``
gives all tokens one position. BOS and padding have no position: they are never spliced and enter no statistic.

An answer's tokens behind a prompt are spliced like the prompt's own; else information about the prompt would bypass
the sites through them. Under ``each`` and ``end`` they have the positions ``answer1``, ``answer2``, …, under ``shared``
the same as all. Their ablation mean is taken over tokens of the same index in either answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts

NO_POSITION = -1


@dataclass(frozen=True, slots=True)
class Alignment:
    """The positions of a task under one kind.

    Attributes:
        kind: how positions are named.
        names: position names in reading order; a position id indexes it.
        ids: for each split, clean and corrupt position ids `[row, position]`, `NO_POSITION` at BOS and padding.
        mean_groups: in the same form, the group over which each token's ablation mean is taken. They equal `ids`
            except under ``shared``, where a group is a (length, index), or an index in the answer: one mean for
            all positions would blur the prompt's structure into the ablation.
        n_mean_groups: number of these groups.
        unspliced_roles: roles that only unseen prompts have. Their tokens have no position, as BOS has none: there is
            no node of the search there and no reference, so the model goes on with its own residual.
    """

    kind: PositionsKind
    names: tuple[str, ...]
    ids: dict[tuple[Split, str], Tensor]
    mean_groups: dict[tuple[Split, str], Tensor]
    n_mean_groups: int
    unspliced_roles: tuple[str, ...] = ()


def pick_kind(wanted: PositionsKind | None, sets: dict[Split, PromptSet]) -> PositionsKind:
    """`wanted`, or ``each`` where roles or one common length allow it, else ``shared``."""
    if wanted is not None:
        return wanted
    return "each" if _has_roles(sets) or _one_length(sets) else "shared"


def align(kind: PositionsKind, sets: dict[Split, PromptSet], task: str) -> Alignment:
    """Names the position of every token of every split.

    Raises:
        UserError: ``each`` without roles on prompts of several lengths, or a role of a test prompt that no train prompt
            has.
    """
    sides = {(split, side): getattr(prompts, side) for split, prompts in sets.items() for side in ("clean", "corrupt")}
    longest_answer = _longest_answer(sides, task)
    unspliced: tuple[str, ...] = ()
    if kind == "each":
        if _has_roles(sets):
            names, ids, unspliced = _by_role(sets, sides, task)
        else:
            _require_one_length(sets, task)
            width = int(sides["train", "clean"].prompt_lengths[0]) - sides["train", "clean"].n_bos
            names = tuple(str(index) for index in range(width))
            ids = {key: _index(side) for key, side in sides.items()}
    elif kind == "end":
        names, ids = _from_end(sides)
    else:
        groups, n_groups = _by_length_and_index(sides)
        groups = _with_answers(groups, sides, range(n_groups, n_groups + longest_answer))
        ids = {key: torch.where(table >= 0, 0, NO_POSITION) for key, table in groups.items()}
        return Alignment(kind, ("all",), ids, groups, n_groups + longest_answer)
    answers = tuple(f"answer{index + 1}" for index in range(longest_answer))
    names += tuple(name for name in answers if name not in names)  # a task may have a role of that name
    ids = _with_answers(ids, sides, [names.index(name) for name in answers])
    return Alignment(kind, names, ids, ids, len(names), unspliced)


def _longest_answer(sides: dict[tuple[Split, str], TokenizedPrompts], task: str) -> int:
    """The largest number of an answer's tokens behind a train prompt."""
    longest = int(sides["train", "clean"].n_answer_tokens.max())
    if longest == 0 and any(bool(side.n_answer_tokens.any()) for side in sides.values()):
        raise UserError(f"task {task}: held-out prompts have answers of several tokens, and no train prompt has")
    return longest


def _with_answers(
    ids: dict[tuple[Split, str], Tensor], sides: dict[tuple[Split, str], TokenizedPrompts], answer_ids: Sequence[int]
) -> dict[tuple[Split, str], Tensor]:
    """`ids` with `answer_ids[k]` at the answer's token number k, the last one where no train answer is as long."""
    if not answer_ids:
        return ids
    by_index = torch.tensor(answer_ids, device=sides["train", "clean"].tokens.device)
    found = {}
    for key, side in sides.items():
        index = torch.arange(side.tokens.shape[1], device=by_index.device) - side.prompt_lengths.unsqueeze(1)
        inside = (index >= 0) & (index < side.n_answer_tokens.unsqueeze(1))
        found[key] = torch.where(inside, by_index[index.clamp(0, len(answer_ids) - 1)], ids[key])
    return found


def _has_roles(sets: dict[Split, PromptSet]) -> bool:
    return all(all(side.roles) for prompts in sets.values() for side in (prompts.clean, prompts.corrupt))


def _one_length(sets: dict[Split, PromptSet]) -> bool:
    lengths = torch.cat([side.prompt_lengths for prompts in sets.values() for side in (prompts.clean, prompts.corrupt)])
    return bool((lengths == lengths[0]).all())


def _require_one_length(sets: dict[Split, PromptSet], task: str) -> None:
    for prompts in sets.values():
        clean, corrupt = prompts.clean.prompt_lengths, prompts.corrupt.prompt_lengths
        unequal = (clean != corrupt).nonzero()
        if len(unequal):
            row = int(unequal[0])
            pair = prompts.pair_of_row(row)
            raise UserError(
                f"--positions each: {pair.place(task)}: clean {pair.clean!r} and its corrupt have "
                f"{int(clean[row])} and {int(corrupt[row])} tokens; "
                "use --positions end or shared, or name the positions in a 'roles' field"
            )
    if not _one_length(sets):
        raise UserError(
            f"--positions each: task {task}: its prompts have several token lengths and no 'roles'; "
            "use --positions end or shared"
        )


def _index(side: TokenizedPrompts) -> Tensor:
    """Index of each of the prompt's tokens after BOS, `[row, position]`."""
    index = torch.arange(side.tokens.shape[1], device=side.tokens.device).expand_as(side.tokens) - side.n_bos
    inside = (index >= 0) & (index < (side.prompt_lengths - side.n_bos).unsqueeze(1))
    return torch.where(inside, index, NO_POSITION)


def _by_role(
    sets: dict[Split, PromptSet], sides: dict[tuple[Split, str], TokenizedPrompts], task: str
) -> tuple[tuple[str, ...], dict[tuple[Split, str], Tensor], tuple[str, ...]]:
    """Returns position names, ids, and the roles without a position, which only unseen prompts have."""
    names: dict[str, int] = {}
    for key in (("train", "clean"), ("train", "corrupt")):
        for row in sides[key].roles:
            for role in row:
                names.setdefault(role, len(names))
    ids, unspliced = {}, dict[str, None]()
    for (split, name), side in sides.items():
        table = torch.full(side.tokens.shape, NO_POSITION)
        for index, row in enumerate(side.roles):
            unknown = [role for role in row if role not in names]
            if unknown and split != "unseen":
                place = sets[split].pair_of_row(index).place(task)
                raise UserError(f"{place}: the role {unknown[0]!r} of a {split} prompt occurs in no train prompt")
            unspliced |= dict.fromkeys(unknown)
            known = [names.get(role, NO_POSITION) for role in row]
            table[index, side.n_bos : side.n_bos + len(row)] = torch.tensor(known)
        ids[split, name] = table.to(side.tokens.device)
    return tuple(names), ids, tuple(unspliced)


def _from_end(
    sides: dict[tuple[Split, str], TokenizedPrompts],
) -> tuple[tuple[str, ...], dict[tuple[Split, str], Tensor]]:
    longest = max(
        int((sides["train", name].prompt_lengths - sides["train", name].n_bos).max()) for name in ("clean", "corrupt")
    )
    names = tuple(str(index - longest) for index in range(longest))
    ids = {}
    for key, side in sides.items():
        index = _index(side)
        back = (side.prompt_lengths - side.n_bos).unsqueeze(1) - index
        # A held-out prompt may be longer than any train prompt: its first tokens take the farthest position.
        ids[key] = torch.where(index >= 0, (longest - back).clamp(min=0), NO_POSITION)
    return names, ids


def _by_length_and_index(
    sides: dict[tuple[Split, str], TokenizedPrompts],
) -> tuple[dict[tuple[Split, str], Tensor], int]:
    corrupt = sides["train", "corrupt"]
    lengths: Sequence[int] = sorted({int(length) for length in corrupt.prompt_lengths})
    offsets, total = {}, 0
    for length in lengths:
        offsets[length] = total
        total += length - corrupt.n_bos
    groups = {}
    for key, side in sides.items():
        index = _index(side)
        table = torch.full_like(index, NO_POSITION)
        for row, length in enumerate(side.prompt_lengths.tolist()):
            # A length that no corrupt train prompt has takes the groups of the nearest length.
            nearest = min(lengths, key=lambda known: (abs(known - length), known))
            own = index[row].clamp(max=nearest - corrupt.n_bos - 1) + offsets[nearest]
            table[row] = torch.where(index[row] >= 0, own, NO_POSITION)
        groups[key] = table
    return groups, total
