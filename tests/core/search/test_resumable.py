"""A search that died and was run again from its folder finds what it would have found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.searches import QUICK, FinishedSearch, SearchableProblem, run_search

from circuit_tui.core.errors import CheckpointError, NoResult
from circuit_tui.core.evaluation import evaluator as evaluate
from circuit_tui.core.search.checkpoint import JOURNAL
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import FrontierPoint, Metrics, SearchProgress, SearchResult

SAVE_EVERY = 4


def numbers(result: SearchResult) -> tuple[frozenset[int], Metrics, Metrics, tuple[FrontierPoint, ...], int]:
    return result.nodes, result.train, result.test, result.frontier, result.steps


def die(search: Search, after: int) -> None:
    """Takes `after` steps, saving now and then, and leaves the search as a kill would: what was not saved is lost."""
    for step in range(after):
        next(search)
        if step % SAVE_EVERY == 0:
            search.save()


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_on_to_the_same_circuit(
    searchable: Callable[[str], SearchableProblem],
    finished_search: Callable[..., FinishedSearch],
    method: str,
    tmp_path: Path,
) -> None:
    problem, whole = searchable("gpt2-each"), finished_search("gpt2-each", method)
    for share in (0.15, 0.7):  # in the optimisation, where there is one, and in what follows it
        folder = tmp_path / f"{share}"
        folder.mkdir()
        dying = problem.search(method, 0.8)
        dying.keep(folder)
        die(dying, max(1, round(share * len(whole.steps))))
        again = problem.search(method, 0.8)
        again.keep(folder)
        assert numbers(run_search(again)[0]) == numbers(whole.result)


def test_a_search_that_holds_more_goes_on_to_the_same_circuit(
    searchable: Callable[[str], SearchableProblem], tmp_path: Path
) -> None:
    on = searchable("gpt2-each")
    held = (Objective("logit-diff", 0.8), Objective("kl", 0.6))
    spec = SearchSpec("mask", 0.8, 0, {**QUICK["mask"], "steps": 10, "refine": 0}, held, ("resample",))

    def search() -> Search:
        return Search(on.problem, on.train, on.test, spec)

    whole, steps = run_search(search())
    dying = search()
    dying.keep(tmp_path)
    die(dying, len(steps) // 2)
    again = search()
    again.keep(tmp_path)
    result = run_search(again)[0]
    assert numbers(result) == numbers(whole)
    assert result.held == whole.held


def test_it_can_die_as_often_as_it_likes(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], tmp_path: Path
) -> None:
    problem, whole = searchable("gpt2-each"), finished_search("gpt2-each", "mask")
    for _ in range(4):
        dying = problem.search("mask", 0.8)
        dying.keep(tmp_path)
        die(dying, len(whole.steps) // 3)
    last = problem.search("mask", 0.8)
    last.keep(tmp_path)
    assert numbers(run_search(last)[0]) == numbers(whole.result)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every forward pass through the sites."""
    counted: list[int] = []
    real = evaluate.run_spliced

    def run(*args: Any, **kwargs: Any) -> Any:
        counted.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(evaluate, "run_spliced", run)
    monkeypatch.setattr("circuit_tui.core.search.objective.run_spliced", run)
    return counted


@pytest.mark.parametrize("method", ["mask", "published"])
def test_what_was_done_is_not_done_again(
    searchable: Callable[[str], SearchableProblem], method: str, tmp_path: Path, runs: list[int]
) -> None:
    problem = searchable("gpt2-each")
    whole = problem.search(method, 0.8)
    whole.keep(tmp_path)
    before = len(runs)
    run_search(whole)
    whole.save()
    assert len(runs) - before > 30
    again = problem.search(method, 0.8)
    again.keep(tmp_path)
    before = len(runs)
    run_search(again)
    assert len(runs) == before, "a finished_search search is nothing but recalled"


def test_a_cut_line_and_a_damaged_state_only_cost_time(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], tmp_path: Path
) -> None:
    problem, whole = searchable("gpt2-each"), finished_search("gpt2-each", "mask")
    dying = problem.search("mask", 0.8)
    dying.keep(tmp_path)
    die(dying, len(whole.steps) * 2 // 3)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-7])
    (state,) = tmp_path.glob("loop-*.pt")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    kept = tmp_path / "copy"
    shutil.copytree(tmp_path, kept, ignore=shutil.ignore_patterns("copy"))
    again = problem.search("mask", 0.8)
    again.keep(tmp_path)
    assert numbers(run_search(again)[0]) == numbers(whole.result)
    again.save()
    assert len(journal.read_bytes().splitlines()) > len((kept / JOURNAL).read_bytes().splitlines())
    assert all(line.endswith(b"}") for line in journal.read_bytes().splitlines())


@pytest.mark.parametrize("what", ["a part is missing", "another size"])
def test_a_state_that_does_not_fit_is_refused_and_stays(
    searchable: Callable[[str], SearchableProblem], tmp_path: Path, what: str
) -> None:
    problem = searchable("gpt2-each")
    dying = problem.search("published", 0.8)
    dying.keep(tmp_path)
    die(dying, SAVE_EVERY + 1)
    path = tmp_path / "loop-0.pt"
    stored = torch.load(path, weights_only=True)
    if what == "another size":
        stored["state"]["theta"] = stored["state"]["theta"][:-1]
    else:
        del stored["state"]["optimiser"]
    torch.save(stored, path)
    before = path.read_bytes()
    again = problem.search("published", 0.8)
    again.keep(tmp_path)
    with pytest.raises(CheckpointError, match=rf"^{path}: this version cannot continue the search stored there"):
        next(again)
    again.save()
    assert path.read_bytes() == before


def test_a_search_counts_the_time_of_the_run_before(
    searchable: Callable[[str], SearchableProblem], tmp_path: Path
) -> None:
    problem = searchable("gpt2-each")
    dying = problem.search("mask", 0.8)
    dying.keep(tmp_path)
    last = [next(dying) for _ in range(20)][-1]
    dying.attempt.meter.started -= 100
    dying.save()
    again = problem.search("mask", 0.8)
    again.keep(tmp_path)
    first = next(again)
    assert first.step == last.step + 1
    assert first.seconds > 100


@pytest.mark.parametrize("method", ["mask", "published"])
def test_a_loss_that_is_no_number_ends_it_without_a_circuit(
    searchable: Callable[[str], SearchableProblem], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from circuit_tui.core.search.objective import MaskedModel

    problem = searchable("gpt2-each")
    real = MaskedModel.logit_difference
    steps: list[SearchProgress] = []

    def broken(self: MaskedModel, mask: Any, batch: Any) -> Any:
        return real(self, mask, batch) * (float("nan") if len(steps) >= 12 else 1.0)

    monkeypatch.setattr(MaskedModel, "logit_difference", broken)
    search = problem.search(method, 0.8)
    with pytest.raises(NoResult, match="the loss is not a finite number at the activations of L0pre; the model or its"):
        collect(search, steps)
    assert search.result is None


def collect(search: Search, steps: list[SearchProgress]) -> None:
    for step in search:
        steps.append(step)


@pytest.mark.parametrize("site", [0, 1])
def test_a_gradient_that_is_not_finite_names_its_site(
    searchable: Callable[[str], SearchableProblem], site: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a dtype cannot hold the gradient: it is spoilt from that site back to the first."""
    from circuit_tui.core.search import not_finite
    from circuit_tui.core.search.objective import MaskedModel

    problem = searchable("gpt2-each").problem
    real = MaskedModel.logit_difference

    def spoilt(self: MaskedModel, mask: Any, batch: Any) -> Any:
        if mask.requires_grad:
            upto = problem.space.first[site + 1]
            mask.register_hook(lambda gradient: gradient.index_fill(0, torch.arange(upto), float("inf")))
        return real(self, mask, batch)

    monkeypatch.setattr(MaskedModel, "logit_difference", spoilt)
    line = not_finite.explain_not_finite(problem, searchable("gpt2-each").train, "the mask")
    assert f"the mask is not a finite number at the gradient of {problem.sites[site].short}; the model or" in line


def test_a_loss_without_bound_ends_it_too(searchable: Callable[[str], SearchableProblem]) -> None:
    search = searchable("gpt2-each").search("published", 0.8, **{"lambda": 0.0})
    next(search)
    search.attempt.loops.watch(1e9)
    result, _ = run_search(search)
    assert "loss became 1e+09" in result.warnings[0]
