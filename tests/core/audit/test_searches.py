"""Shuffled labels and stability: checked by brute force and by plain searches, and on bad circuits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.audits import Oracle, audited_circuit, finding_of
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_problem, random_circuit
from tiny.searches import QUICK, SearchableProblem, run_search, with_candidates
from tiny.solvable_task import solvable_task

from circuit_tui.core.audit.altered_problem import with_shuffled_labels, with_train_prompts
from circuit_tui.core.audit.measures import shuffled, stability
from circuit_tui.core.circuits.compare_circuits import jaccard
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.splice.problem import Problem


def test_shuffled_labels_are_exchanged_on_half_of_each_split(problem: Problem) -> None:
    nonsense = with_shuffled_labels(problem, 3)
    for split in ("train", "test"):
        old, new = problem.splits[split], nonsense.splits[split]  # type: ignore[index]
        changed = old.answers.right != new.answers.right
        assert int(changed.sum()) == len(old) // 2
        assert torch.equal(new.answers.right[changed], old.answers.wrong[changed])
        assert torch.equal(new.answers.wrong[changed], old.answers.right[changed])
    assert torch.equal(nonsense.splits["unseen"].answers.right, problem.splits["unseen"].answers.right)
    again = with_shuffled_labels(problem, 3).splits["train"].answers.right
    assert torch.equal(again, nonsense.splits["train"].answers.right)
    seeds = {tuple(with_shuffled_labels(problem, seed).splits["train"].answers.right.tolist()) for seed in range(8)}
    assert len(seeds) > 4


def test_nonsense_faithfulness_is_that_of_the_oracle(problem: Problem, oracle: Oracle) -> None:
    """Shuffled prompts turn their sign in m(C) and m(0), not in m(M): the altered model is as sure as M."""
    nonsense, kept = with_shuffled_labels(problem, 3), random_circuit(problem, 0.5, 1)
    changed = problem.splits["test"].answers.right != nonsense.splits["test"].answers.right
    sign = 1 - 2 * changed.double()
    circuit, empty = oracle.circuit("test", names_of_nodes(problem, kept)), oracle.circuit("test", set())
    expected = ((sign * circuit).mean() - (sign * empty).mean()) / (oracle.plain("test").mean() - (sign * empty).mean())
    assert Evaluator(nonsense, "test").faithfulness(kept).result() == pytest.approx(float(expected), abs=1e-4)


def _nonsense(problem: Problem, nodes: list[int], **changes: Any) -> Any:
    few = with_candidates(problem, nodes)
    kept = torch.ones(len(few.space), dtype=torch.bool)
    return audited_circuit(few, kept, **changes), few


@pytest.fixture(scope="module")
def narrow(tiny_model: Callable[[str], TinyModel]) -> Problem:
    """Two search prompts and some 200 free nodes: about half of anything can be fitted."""
    tiny = tiny_model("gpt2")
    return open_problem(tiny, solvable_task(tiny, (6,) * 2, (6,) * 6, seed=1), "each")


def test_the_circuit_for_nonsense_is_the_smallest_there_is(narrow: Problem) -> None:
    """The candidates are the six nodes that alone do most for nonsense; every subset is tried."""
    evaluator = Evaluator(with_shuffled_labels(narrow, 1), "train")
    alone = {node: evaluator.faithfulness(_circuit(narrow, (node,))).result() for node in range(len(narrow.space))}
    few = with_candidates(narrow, sorted(alone, key=lambda node: -alone[node])[:6])
    kept = torch.ones(len(few.space), dtype=torch.bool)
    evaluator = Evaluator(with_shuffled_labels(few, 1), "train")
    scores: dict[int, float] = {}
    for size in range(len(few.space) + 1):
        for chosen in combinations(range(len(few.space)), size):
            circuit = torch.zeros(len(few.space), dtype=torch.bool)
            circuit[list(chosen)] = True
            scores[size] = max(scores.get(size, -9.0), 1 - abs(1 - evaluator.faithfulness(circuit).result()))
    best = max(scores.values())
    target = best * 0.8
    assert target > 0.1
    smallest = min(size for size, value in scores.items() if value >= target)
    finding = finding_of(shuffled.shuffled(audited_circuit(few, kept, target=target, seed=0)))
    assert finding.numbers["reached"] == 1
    assert finding.numbers["size"] == smallest
    assert finding.runs[0].kind == "shuffled"
    assert evaluator.faithfulness(_circuit(few, finding.runs[0].nodes)).result() == pytest.approx(
        finding.runs[0].train, abs=1e-5
    )


def _circuit(problem: Problem, nodes: tuple[int, ...]) -> Any:
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[list(nodes)] = True
    return kept


def test_a_search_that_finds_nonsense_as_easily_is_refused(narrow: Problem) -> None:
    finding = finding_of(shuffled.shuffled(audited_circuit(narrow, random_circuit(narrow, 0.5, 0), target=0.5)))
    assert finding.numbers["reached"] == 1
    assert finding.verdict == "bad"
    assert finding.decides


def test_nonsense_that_cannot_be_found_is_good(problem: Problem) -> None:
    """The problem has one candidate node, so that nothing can be fitted."""
    finding = finding_of(
        shuffled.shuffled(audited_circuit(with_candidates(problem, [5]), torch.ones(1, dtype=torch.bool)))
    )
    assert finding.numbers["reached"] == 0
    assert finding.verdict == "good"


@pytest.fixture(scope="module")
def small(problem: Problem) -> Problem:
    """The problem with fewer candidates, so that searches are short."""
    return with_candidates(problem, list(range(0, len(problem.space), 4)))


def test_the_seeds_runs_are_plain_searches(small: Problem) -> None:
    kept = random_circuit(small, 0.3, 0)
    finding = finding_of(stability.seeds(audited_circuit(small, kept, seed=4, seeds=2)))
    assert [(run.seed, run.kind) for run in finding.runs] == [(5, "seeds"), (6, "seeds")]
    searched = SearchableProblem.of(small)
    for run in finding.runs:
        result, _ = run_search(searched.search("mask", 0.9, run.seed))
        assert run.nodes == tuple(sorted(result.nodes))
        assert run.size == len(result.nodes)
        assert run.train == pytest.approx(result.train.faithfulness, abs=1e-5)
    one, other = (set(run.nodes) for run in finding.runs)
    assert finding.numbers["jaccard_mean"] == pytest.approx(len(one & other) / len(one | other))
    own = set(kept.nonzero()[:, 0].tolist())
    mean = sum(len(own & nodes) / len(own | nodes) for nodes in (one, other)) / 2
    assert finding.numbers["jaccard_with_circuit"] == pytest.approx(mean)
    assert finding.numbers["always"] == len(one & other)


def test_a_resampled_problem_weighs_its_prompts(problem: Problem) -> None:
    """A prompt drawn twice counts twice, a prompt that is not drawn does not count; references stay."""
    kept = random_circuit(problem, 0.5, 1)
    draw = torch.tensor([0, 0, 3, 5, 5, 5])
    whole, part = Evaluator(problem, "train"), Evaluator(with_train_prompts(problem, draw), "train")
    circuit, plain, empty = (
        metrics.logit_diff.double()[draw].mean()
        for metrics in (whole.measure(kept).result(), whole.baselines.plain, whole.baselines.empty)
    )
    assert part.faithfulness(kept).result() == pytest.approx(float((circuit - empty) / (plain - empty)), abs=1e-5)
    other = with_train_prompts(problem, draw)
    assert [pair.clean for pair in other.prompt_sets["train"].pairs] == [
        problem.prompt_sets["train"].pairs[index].clean for index in draw
    ]
    few = SearchableProblem.of(with_candidates(other, range(0, len(other.space), 4)))
    for method in QUICK:  # every method can search it
        if method != "published":
            run_search(few.search(method, 0.5))


def test_resamplings_differ_and_keep_the_seed(small: Problem) -> None:
    finding = finding_of(
        stability.resamplings(audited_circuit(small, random_circuit(small, 0.3, 0), seed=7, resamplings=2))
    )
    assert [(run.seed, run.draw) for run in finding.runs] == [(7, 8), (7, 9)]
    assert finding.runs[0].train != finding.runs[1].train


def test_circuits_chosen_at_random_are_not_stable(problem: Problem) -> None:
    kept = random_circuit(problem, 0.3, 0)
    finding = finding_of(stability.seeds(audited_circuit(problem, kept, method="random", target=0.5, seeds=3)))
    again = finding_of(stability.seeds(audited_circuit(problem, kept, method="random", target=0.5, seeds=1)))
    assert finding.verdict in ("doubtful", "bad")
    assert again.verdict == "not measured"


def test_the_same_circuit_each_time_is_stable(problem: Problem) -> None:
    """Integrated gradients do not depend on the seed."""
    finding = finding_of(stability.seeds(audited_circuit(problem, random_circuit(problem, 0.3, 0), "ig", 0.8, seeds=3)))
    assert finding.verdict == "good"
    assert finding.numbers["jaccard_min"] == 1
    assert set(stability.shares(finding.runs).values()) == {1.0}


def test_quick_searches_see_fewer_prompts(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tui.core.audit import searches

    seen = []
    monkeypatch.setattr(searches, "QUICK_PROMPTS", 5)
    real = searches.Search

    def spy(problem: Problem, *given: Any, **names_of_nodes: Any) -> Any:
        seen.append(len(problem.splits["train"]))
        return real(problem, *given, **names_of_nodes)

    monkeypatch.setattr(searches, "Search", spy)
    finding_of(stability.seeds(audited_circuit(problem, random_circuit(problem, 0.3, 0), "ig", seeds=2, quick=True)))
    finding_of(stability.seeds(audited_circuit(problem, random_circuit(problem, 0.3, 0), "ig", seeds=2)))
    assert seen == [5, 5, 8, 8]


@pytest.mark.parametrize("quick", [False, True])
def test_quick_searches_end_with_their_circuit(problem: Problem, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tui.core.audit import searches

    made = []
    real = searches.Search

    def spy(*given: Any, **names_of_nodes: Any) -> Any:
        made.append(real(*given, **names_of_nodes))
        return made[-1]

    monkeypatch.setattr(searches, "Search", spy)
    finding = finding_of(
        stability.seeds(audited_circuit(problem, random_circuit(problem, 0.3, 0), "mask", 0.8, seeds=2, quick=quick))
    )
    assert [search.attempt.stopped for search in made] == [quick, quick]
    assert [run.reached for run in finding.runs] == [True, True]
    smallest = [min(point.size for point in search.frontier()) for search in made]
    assert ([run.size for run in finding.runs] == smallest) is quick
    assert ("2 quick searches find" in finding.says) is quick


def test_jaccard_in_closed_form() -> None:
    assert jaccard({1, 2, 3}, {2, 3, 4}) == pytest.approx(0.5)
    assert jaccard([], []) == 1
    assert jaccard([1], []) == 0


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_jaccard_is_a_similarity(one: set[int], other: set[int]) -> None:
    value = jaccard(one, other)
    assert 0 <= value <= 1
    assert value == jaccard(other, one)
    assert (value == 1) == (one == other)


def test_shares_of_runs(problem: Problem) -> None:
    finding = finding_of(stability.seeds(audited_circuit(problem, random_circuit(problem, 0.3, 0), "ig", 0.8, seeds=2)))
    first = replace(finding.runs[0], nodes=(1, 2))
    assert stability.shares([first, replace(first, nodes=(2, 3)), replace(first, nodes=(2,))]) == pytest.approx(
        {1: 1 / 3, 2: 1.0, 3: 1 / 3}
    )
