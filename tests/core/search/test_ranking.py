"""The searches by one score: attributions against plain hooks, random order, and which prefix is kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import pytest
import torch
from naive import AnswerPrefix, Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem
from tiny.searches import SearchableProblem, run_search
from tiny.solvable_task import solvable_task
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.ranking import RankingMethod, size_grid
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Pair


def scores_of(search: Search) -> Tensor:
    """The scores `[node]` that the search ranks by."""
    assert isinstance(search.attempt, RankingMethod)
    scoring, shares = search.attempt.score_nodes(), list[float]()
    while True:
        try:
            shares.append(next(scoring))
        except StopIteration as end:
            assert shares[-1] == 1
            scores: Tensor = end.value
            return scores


def search_of(problem: Problem, spec: SearchSpec) -> Search:
    """A search of `problem`, whether the model can do its task or not."""
    return Search(problem, Evaluator(problem, "train"), Evaluator(problem, "test"), spec)


def naive_integrated_gradients(naive: Naive, problem: Problem, steps: int) -> Tensor:
    """|mean over prompts of mean over steps of dLD/dA (A_clean - A_corrupt)|, one site moved, the others spliced."""
    space, names, train = problem.space, problem.alignment.names, problem.task.split("train")
    found = torch.zeros(len(naive.saes), len(names), max(sae.cfg.d_sae for sae in naive.saes))
    for site, sae in enumerate(naive.saes):
        for pair, which in product(train, (0, 1)):
            said = len((pair.answer, pair.wrong)[which].split()) - 1
            clean, corrupt = (naive.with_answer(pair, side, (which, said)) for side in (pair.clean, pair.corrupt))
            # Both under M_s: what reaches the site when the sites before it are spliced.
            ends = [sae.encode(naive.spliced_until(pair, text, site)[1][site]).detach() for text in (clean, corrupt)]
            total = torch.zeros_like(ends[0])
            for step in range(1, steps + 1):
                moved = (ends[1] + (ends[0] - ends[1]) * (step / steps)).requires_grad_()

                def ask(said: AnswerPrefix, pair: Pair = pair, moved: Tensor = moved, site: int = site) -> Tensor:
                    text = naive.with_answer(pair, pair.clean, said)
                    edits = {
                        other: naive.edit(other, pair, text, lambda _, acts: acts)
                        for other in range(len(naive.saes))
                        if other != site
                    }
                    edits[site] = naive.edit(site, pair, text, lambda at, acts: moved[at])
                    return naive.run(naive.tokens(text), edits)[0]

                (grad,) = torch.autograd.grad(naive.log_probability(pair, which, ask), moved)
                total += (1 - 2 * which) * grad / steps
            for token, name in enumerate(naive.names(pair, clean)):
                if name is not None:
                    found[site, names.index(name)] += (total * (ends[0] - ends[1]))[token] / len(train)
    return found[space.site, space.position, space.latent].abs()


@pytest.mark.parametrize(("name", "steps"), [("gpt2-each", 3), ("llama-shared", 2), ("gemma2-end", 3)])
def test_integrated_gradients_are_those_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel], searchable: Callable[[str], SearchableProblem], name: str, steps: int
) -> None:
    problem = searchable(name).problem
    expected = naive_integrated_gradients(open_naive(tiny_model(name.split("-")[0]), problem), problem, steps)
    search = searchable(name).search("ig", steps=steps)
    scale = float(expected.max())
    assert scale > 1e-2
    torch.testing.assert_close(scores_of(search), expected, rtol=0, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("name", ["gpt2-each", "llama-shared", "gemma2-end"])
def test_one_gradient_at_all_sites_is_that_of_plain_hooks_at_each(
    tiny_model: Callable[[str], TinyModel], searchable: Callable[[str], SearchableProblem], name: str
) -> None:
    """At the clean end of the path one step of integrated gradients is attribution patching, one site at a time."""
    problem = searchable(name).problem
    expected = naive_integrated_gradients(open_naive(tiny_model(name.split("-")[0]), problem), problem, 1)
    search = searchable(name).search("atp")
    torch.testing.assert_close(scores_of(search), expected, rtol=0, atol=1e-5 * max(1.0, float(expected.max())))


@pytest.mark.parametrize(("kind", "task"), [("each", "roles-multi"), ("shared", "index-multi")])
def test_attributions_of_answers_of_several_tokens_are_those_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    problem = open_problem(tiny_model("llama"), TASKS[task], kind)
    naive = open_naive(tiny_model("llama"), problem)
    for name, steps in (("ig", 2), ("atp", 1)):
        spec = SearchSpec(name, 0.9, 0, {"steps": steps} if name == "ig" else {})
        expected = naive_integrated_gradients(naive, problem, steps)
        assert float(expected.max()) > 1e-2
        # Rounding of up to six log-probabilities, each taken anew by the oracle.
        tolerance = 3e-5 * max(1.0, float(expected.max()))
        torch.testing.assert_close(scores_of(search_of(problem, spec)), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "method"), [("gpt2", "ig"), ("llama", "ig"), ("gpt2", "atp")])
def test_errors_added_back_are_those_of_the_model_itself(
    tiny_model: Callable[[str], TinyModel], searchable: Callable[[str], SearchableProblem], name: str, method: str
) -> None:
    """The problem drops its errors; with `errors` the scores are those of an oracle that keeps them."""
    task = searchable(name).problem.task
    dropped = open_problem(tiny_model(name), task, "each", errors="drop")
    keeping = open_naive(tiny_model(name), open_problem(tiny_model(name), task, "each", errors="keep"))
    steps = {"ig": {"steps": 2}, "atp": {}}[method]
    expected = naive_integrated_gradients(keeping, dropped, 2 if steps else 1)
    scores = {}
    for errors in (True, False):
        spec = SearchSpec(method, 0.9, 0, {**steps, "errors": errors})
        scores[errors] = scores_of(search_of(dropped, spec))
    tolerance = 1e-5 * max(1.0, float(expected.max()))
    torch.testing.assert_close(scores[True], expected, rtol=0, atol=tolerance)
    assert float((scores[False] - expected).abs().max()) > 100 * tolerance


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("name", ["gpt2-each", "llama-shared"])
def test_activation_difference_is_that_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel], searchable: Callable[[str], SearchableProblem], name: str, paired: bool
) -> None:
    problem = searchable(name).problem
    naive = open_naive(tiny_model(name.split("-")[0]), problem)
    space, names, train = problem.space, problem.alignment.names, problem.task.split("train")
    expected = torch.zeros(len(space))
    for node in range(len(space)):
        site, position, latent = int(space.site[node]), names[int(space.position[node])], int(space.latent[node])
        sides = []
        for side in ("clean", "corrupt"):
            fired = []  # for each prompt the activations at this position's tokens
            for pair in train:
                text = getattr(pair, side)
                activations = naive.saes[site].encode(naive.spliced_until(pair, text, site)[1][site]).detach()
                own = [token for token, name in enumerate(naive.names(pair, text)) if name == position]
                fired.append(activations[own, latent])
            sides.append(fired)
        if paired:
            difference = sum(abs(float(a.sum() - b.sum())) for a, b in zip(*sides, strict=True)) / len(train)
        else:
            difference = abs(float(torch.cat(sides[0]).mean() - torch.cat(sides[1]).mean()))
        one = torch.zeros(naive.saes[site].cfg.d_sae)
        one[latent] = 1.0
        moved = naive.saes[site].decode(one) - naive.saes[site].decode(torch.zeros_like(one))
        expected[node] = difference * float(moved.detach().norm())
    search = searchable(name).search("activation-difference", paired=paired)
    assert float(expected.max()) > 1e-2
    torch.testing.assert_close(scores_of(search), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["ig", "atp"])
def test_attributions_refuse_pairs_of_unequal_length(tiny_model: Callable[[str], TinyModel], method: str) -> None:
    task = solvable_task(tiny_model("gpt2"), (5, 6, 7, 6), (6, 7), turn=1)
    search = SearchableProblem.of(open_problem(tiny_model("gpt2"), task, "shared", errors="keep")).search(method)
    with pytest.raises(UserError, match=f"--method {method}: task able has pairs of unequal token length"):
        next(search)


def test_activation_difference_takes_pairs_of_unequal_length(tiny_model: Callable[[str], TinyModel]) -> None:
    task = solvable_task(tiny_model("gpt2"), (5, 6, 7, 6), (6, 7), turn=1)
    searchable = SearchableProblem.of(open_problem(tiny_model("gpt2"), task, "shared", errors="keep"))
    assert run_search(searchable.search("activation-difference", 0.5))[0].reached


def test_random_order_is_a_draw_of_its_seed(searchable: Callable[[str], SearchableProblem]) -> None:
    problem = searchable("gpt2-each")
    drawn = [scores_of(problem.search("random", seed=seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(set(drawn[0].tolist())) == len(problem.problem.space)


@pytest.mark.parametrize(("method", "target"), [("ig", 0.6), ("ig", 0.9), ("random", 0.6), ("random", 0.9)])
def test_the_first_prefix_on_the_grid_that_reaches_then_those_before_it(
    searchable: Callable[[str], SearchableProblem], method: str, target: float
) -> None:
    problem = searchable("llama-each")
    order = scores_of(problem.search(method)).argsort(descending=True, stable=True).tolist()

    def reaches(size: int) -> bool:
        return problem.score(problem.circuit(frozenset(order[:size]))) >= target

    grid = size_grid(len(order))
    first = next(size for size in grid if reaches(size))
    below = max([0, *(size for size in grid if size < first)])
    expected = next(size for size in range(below + 1, first + 1) if reaches(size))
    result, _ = run_search(problem.search(method, target))
    assert result.reached
    assert result.nodes == frozenset(order[:expected])


def test_lower_levels_are_found_as_exactly_as_the_target(searchable: Callable[[str], SearchableProblem]) -> None:
    """Up to 199 nodes every size in a gap is tried."""
    problem = searchable("llama-each")
    order = scores_of(problem.search("atp")).argsort(descending=True, stable=True).tolist()
    scores = [problem.score(problem.circuit(frozenset(order[:size]))) for size in range(1, 100)]
    result, _ = run_search(problem.search("atp", 0.99))
    firsts = [next(size for size, score in enumerate(scores, 1) if score >= level) for level in (0.8, 0.9, 0.95)]
    assert not set(firsts) <= set(size_grid(len(order)))
    for level, first in zip((0.8, 0.9, 0.95), firsts, strict=True):
        assert next(p.size for p in result.frontier if 1 - abs(1 - p.train) >= level) == first


@pytest.mark.parametrize("largest", [1, 2, 7, 100, 5000])
def test_the_grid_ascends_by_small_steps_to_everything(largest: int) -> None:
    sizes = size_grid(largest)
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert all(after <= max(before + 1, 1.2 * before) for before, after in pairwise(sizes))
