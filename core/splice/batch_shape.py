"""The shape that every batch of some number of prompts can have, so that making one asks the device nothing.

Otherwise a batch is as wide as its longest prompt, and a group as large as its largest: numbers that are on the device.
In a fixed shape both are the largest that any prompts of the split could need. A recorded step runs on such batches:
which prompts they hold is then the content of one tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.tasks.answers import Answers


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The shape of batches of some number of prompts of one split.

    Attributes:
        width: tokens of a row, padding included.
        group_width: tokens of a group (`position_groups.py`), padding included.
        read_positions: `[position]` on the CPU: position ids at which any prompt of the split is read.
        answers: the answers of the split, with as many reads for each prompt.
    """

    width: int
    group_width: int
    read_positions: Tensor
    answers: Answers

    @classmethod
    def of(cls, n_prompts: int, ids: Tensor, answers: Answers, n_positions: int) -> BatchShape:
        """The shape for any `n_prompts` prompts of a split.

        Args:
            n_prompts: the number of prompts.
            ids: `[row, position]` position ids of the split, negative where nothing is spliced.
            answers: the split's.
            n_positions: number of position ids.
        """
        ids_on_cpu = ids.cpu()
        flat = torch.where(ids_on_cpu >= 0, ids_on_cpu, n_positions).reshape(len(answers), -1)
        counts = torch.zeros(len(answers), n_positions + 1, dtype=torch.long)
        counts.scatter_add_(1, flat, torch.ones_like(flat))
        largest = counts[:, :n_positions].topk(min(n_prompts, len(answers)), dim=0)[0].sum(0)
        reads = ids_on_cpu[answers.read_rows.cpu(), answers.read_columns.cpu()].unique()
        width = max(1, int(largest.max())) if n_positions else 1
        return cls(ids.shape[1], width, reads, answers.evened(ids.shape[1]))
