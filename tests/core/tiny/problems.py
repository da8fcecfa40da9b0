"""A task on a tiny tiny_model, opened by the engine and by the oracle."""

from __future__ import annotations

from typing import Any

import torch
from naive import Naive, Node
from torch import Tensor

from circuit_tui.core.choices import AblationKind, ErrorsKind, PositionsKind
from circuit_tui.core.splice.problem import Problem, build_problem
from circuit_tui.core.tasks.positions import align
from circuit_tui.core.tasks.task import Task
from circuit_tui.core.tasks.tokens import tokenize
from tiny.models_with_saes import CPU, TinyModel


def open_problem(
    tiny_model: TinyModel,
    task: Task,
    kind: PositionsKind = "each",
    ablation: AblationKind = "mean",
    errors: ErrorsKind = "drop",
    batch_size: int | None = None,
    seed: int = 0,
) -> Problem:
    """Opens `task` in the engine."""
    sets = tokenize(task, tiny_model.model.tokenizer, CPU)
    alignment = align(kind, sets, task.name)
    return build_problem(tiny_model.model, tiny_model.sites, task, sets, alignment, ablation, errors, batch_size, seed)


def open_naive(tiny_model: TinyModel, problem: Problem, hf: Any = None) -> Naive:
    """Opens the same in the oracle, with the model `hf` if not None; what resampling drew is taken from the engine."""
    width = problem.prompt_sets["train"].corrupt.tokens.shape[1]

    def drawn(split: str, prompt: int, answer: int, token: int) -> tuple[int, int]:
        texts = problem.prompt_sets["train"].answers.rows_per_prompt
        row, at = divmod(int(problem.splits[split].reference_rows[prompt * texts + answer, token]), width)  # type: ignore[index]
        assert row % texts == answer
        return row // texts, at

    return Naive(
        tiny_model.folder,
        tiny_model.sae_folders,
        problem.task,
        problem.alignment.kind,
        problem.ablation,
        problem.errors,
        drawn,
        hf=hf,
    )


def random_circuit(problem: Problem, share: float, seed: int) -> Tensor:
    """A random circuit `[node]` bool with about `share` of the candidates."""
    return torch.rand(len(problem.space), generator=torch.Generator().manual_seed(seed)) < share


def names_of_nodes(problem: Problem, kept: Tensor) -> set[Node]:
    """The names of the nodes in `kept`."""
    space = problem.space
    rows = zip(space.coordinates(), kept.tolist(), strict=True)
    return {(site, problem.alignment.names[position], latent) for (site, position, latent), keep in rows if keep}
