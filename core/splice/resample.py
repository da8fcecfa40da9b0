"""Draws the references of ``resample``: for each prompt a corrupt train prompt with the same positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import Alignment
from circuit_tui.core.tasks.task import Split


class ResampleDraws:
    """The source prompts that each prompt can be given, and draws from them.

    One source prompt is drawn for each prompt, row for row, so that its activations belong together and both answers
    are read after the same. As far as the two agree both rows take the first's.

    Args:
        alignment: has the mean group of each token of the prompts, and of the corrupt train prompts.
        split: that of the clean prompts that tokens are drawn for.
        answers: of these prompts.
        places: where each of them is from (`Pair.place`).

    Raises:
        UserError: no source prompt has the same mean groups as some prompt.
    """

    def __init__(self, alignment: Alignment, split: Split, answers: Answers, places: Sequence[str]) -> None:
        groups, source = alignment.mean_groups[split, "clean"], alignment.mean_groups["train", "corrupt"]
        self._per_prompt, self._like = answers.rows_per_prompt, groups
        self._width = source.shape[1]
        own_sorted, self._columns = _by_group(groups, max(groups.shape[1], self._width))
        source_sorted, self._source_columns = _by_group(source, max(groups.shape[1], self._width))
        n = len(answers)
        every = torch.cat([own_sorted, source_sorted]).reshape(-1, self._per_prompt * own_sorted.shape[1])
        _, pattern = every.unique(dim=0, return_inverse=True)
        self._pattern = pattern[:n].tolist()
        self._choices = {kind: (pattern[n:] == kind).nonzero()[:, 0].tolist() for kind in set(self._pattern)}
        for index, kind in enumerate(self._pattern):
            if not self._choices[kind]:
                longest = int((groups >= 0).sum(1)[index * self._per_prompt :][: self._per_prompt].max())
                raise UserError(
                    f"--ablation resample: {places[index]}: no corrupt train prompt has the {longest} "
                    f"positions of the clean prompt; use --ablation mean"
                )
        self._shared = answers.difference_column + 1

    def rows(self, seed: int) -> Tensor:
        """The flat index of the source token that each token takes, `[row, position]`; -1 where nothing is spliced."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            choices[int(torch.randint(len(choices), (1,), generator=generator))]
            for choices in (self._choices[kind] for kind in self._pattern)
        ]
        device, per_prompt = self._like.device, self._per_prompt
        donors = torch.tensor(drawn, device=device).repeat_interleave(per_prompt) * per_prompt
        donors += torch.arange(per_prompt, device=device).repeat(len(drawn))
        values = donors.unsqueeze(1) * self._width + self._source_columns[donors]
        row, slot = (self._columns >= 0).nonzero(as_tuple=True)
        taken = torch.full_like(self._like, -1)
        taken[row, self._columns[row, slot]] = values[row, slot]
        shared = torch.arange(taken.shape[1], device=device) < self._shared.unsqueeze(1)
        for offset in range(1, per_prompt):
            taken[offset::per_prompt] = torch.where(shared, taken[::per_prompt], taken[offset::per_prompt])
        return taken


def _by_group(groups: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The groups of each row in ascending order, and the columns that have them, each `[row, width]`; -1 for none."""
    last = groups.max() + 1
    ascending, columns = torch.where(groups >= 0, groups, last).sort(stable=True, dim=1)
    inside = ascending < last
    padding = (0, width - groups.shape[1])
    return tuple(
        torch.nn.functional.pad(torch.where(inside, part, -1), padding, value=-1) for part in (ascending, columns)
    )  # type: ignore[return-value]
