"""The benchmark that looks for better circuits of a size than a search found: it finds the best of every subset."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from floor import Annealing, of_size
from tiny.models_with_saes import TinyModel
from tiny.searches import SearchableProblem, run_search, solvable_problem, with_candidates

SIZE = 3


@pytest.fixture(scope="module")
def few(tiny_model: Callable[[str], TinyModel]) -> SearchableProblem:
    """Nine candidates, spread over the sites."""
    whole = solvable_problem(tiny_model("gpt2"))
    return SearchableProblem.of(with_candidates(whole, torch.linspace(0, len(whole.space) - 1, 9).long().tolist()))


def test_annealing_finds_the_best_of_all_circuits_of_a_size(few: SearchableProblem) -> None:
    subsets = [few.circuit(frozenset(nodes)) for nodes in combinations(range(9), SIZE)]
    scores = [few.score(kept) for kept in subsets]
    worst = subsets[scores.index(min(scores))]
    annealing = Annealing(few.search(), 0)
    assert annealing.run(worst, 200) == pytest.approx(max(scores), abs=1e-5)
    assert max(scores) > min(scores) + 0.01, "nothing is there to be found"
    assert {int(kept.sum()) for _, kept in annealing.best} == {SIZE}


def test_a_size_that_the_search_did_not_see_is_cut_from_the_next_larger_one(few: SearchableProblem) -> None:
    search = few.search()
    run_search(search)
    seen = {point.size for point in search.frontier()}
    gap = sorted(seen)[len(seen) // 2 - 1]
    larger = search.circuit(min(size for size in seen if size > gap))
    del search.attempt.offered._by_size[gap]
    kept, score = of_size(search, gap)
    assert int(kept.sum()) == gap
    assert larger is not None
    assert not (kept & ~larger.kept).any()
    assert score == pytest.approx(few.score(kept), abs=1e-5)
    assert of_size(search, larger.size)[0].equal(larger.kept)
