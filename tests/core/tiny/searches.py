"""Problems to search, and searches on them without a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.choices import ErrorsKind, PositionsKind
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.search.judge import Judgement
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.nodes import NodeSpace
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import SearchProgress, SearchResult
from tiny.models_with_saes import CPU, TinyModel
from tiny.problems import open_problem
from tiny.saes import make_sae
from tiny.solvable_task import solvable_task

QUICK: dict[str, dict[str, Any]] = {
    "mask": {"steps": 30, "batch": 8, "refine": 20},
    "published": {"steps": 30, "batch": 8},
    "hard-concrete": {"steps": 10, "batch": 8},
    "nested": {"steps": 30, "batch": 8},
    "ig": {"steps": 3},
    "atp": {},
    "activation-difference": {},
    "random": {},
}
"""Settings of every method that make it short."""


@dataclass(frozen=True)
class SearchableProblem:
    """A problem with its evaluators."""

    problem: Problem
    train: Evaluator
    test: Evaluator

    @classmethod
    def of(cls, problem: Problem) -> SearchableProblem:
        return cls(problem, Evaluator(problem, "train"), Evaluator(problem, "test"))

    def search(self, method: str = "mask", target: float = 0.9, seed: int = 0, **settings: Any) -> Search:
        """A quick search, not yet begun."""
        merged = QUICK.get(method, {}) | settings
        return open_search(self.problem, self.train, self.test, SearchSpec(method, target, seed, merged))

    def circuit(self, nodes: frozenset[int]) -> Tensor:
        """`nodes` as `[node]` bool."""
        kept = torch.zeros(len(self.problem.space), dtype=torch.bool)
        kept[sorted(nodes)] = True
        return kept

    def score(self, kept: Tensor) -> float:
        """The score of `kept`, how close its train faithfulness is to 1, by a fresh evaluator."""
        return 1 - abs(1 - Evaluator(self.problem, "train").faithfulness(kept).result())


@dataclass(frozen=True)
class FinishedSearch:
    """A search that has ended: its result, its progress reports, and the circuits `[node]` that it offered."""

    search: Search
    result: SearchResult
    steps: tuple[SearchProgress, ...]
    offered: tuple[Tensor, ...]

    @classmethod
    def of(cls, search: Search) -> FinishedSearch:
        """Runs `search`."""
        offered: list[Tensor] = []
        offer = search.attempt.offer

        def record(kept: Tensor, judgement: Judgement) -> None:
            offered.append(kept.clone())
            offer(kept, judgement)

        search.attempt.offer = record  # type: ignore[method-assign]
        result, steps = run_search(search)
        return cls(search, result, tuple(steps), tuple(offered))


def solvable_problem(
    tiny_model: TinyModel,
    kind: PositionsKind = "shared",
    n_train: int = 12,
    n_test: int = 7,
    seed: int = 0,
    errors: ErrorsKind = "keep",
) -> Problem:
    """A problem that `tiny_model` can solve, and that the splice does not hurt because errors are kept."""
    task = solvable_task(tiny_model, (6,) * n_train, (6,) * n_test, seed=seed)
    return open_problem(tiny_model, task, kind, errors=errors)


def with_few_latents(tiny_model: TinyModel, folder: Path, latents: int, seed: int = 0) -> TinyModel:
    """`tiny_model` with other SAEs at its sites, of `latents` latents each."""
    resid, folders = tiny_model.model.embed(torch.arange(3, 19).reshape(2, 8)), []
    for index, site in enumerate(tiny_model.sites):
        spread = float(tiny_model.model.run_blocks(resid, 0, site.depth).std())
        path = folder / f"few{index}"
        width = tiny_model.model.d_model
        folders.append(make_sae("standard", path, site.hook, width, spread, seed + index, latents=latents))
    return TinyModel(tiny_model.folder, tuple(folders), tiny_model.model, tuple(load_saes([], folders, CPU)))


def with_candidates(problem: Problem, nodes: Sequence[int]) -> Problem:
    """`problem` with the candidates `nodes` alone; all other nodes are ablated in every circuit."""
    space = problem.space
    nowhere = [torch.zeros(problem.n_positions, site.sae.d_sae, dtype=torch.bool) for site in problem.sites]
    chosen = [(int(space.site[node]), int(space.position[node]), int(space.latent[node])) for node in nodes]
    return replace(problem, space=NodeSpace.from_fired(nowhere, chosen))


def run_search(search: Search) -> tuple[SearchResult, list[SearchProgress]]:
    """Runs `search` to its end."""
    steps = list(search)
    assert search.result is not None
    return search.result, steps
