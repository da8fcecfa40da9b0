"""Starting a search: what is refused and in which words, and how a method is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.searches import SearchableProblem, run_search

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.open_search import check_worth_searching, open_search
from circuit_tui.core.search.registry import METHODS, MethodInfo
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem


def open_it(searchable: SearchableProblem, **changes: Any) -> object:
    given: dict[str, Any] = {"method": "mask", "target": 0.9, "seed": 0} | changes
    return open_search(searchable.problem, searchable.train, searchable.test, SearchSpec(**given))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"method": "maks"},
            r"--method maks: unknown method; known are mask, published, .*, random; did you mean mask\?",
        ),
        ({"target": 0}, r"--target 0: must lie between 0 and 1"),
        ({"target": 1}, r"--target 1: must lie between 0 and 1"),
        ({"target": -0.5}, r"--target -0.5: must lie between 0 and 1"),
        ({"target": float("nan")}, r"--target nan: must lie between 0 and 1"),
        ({"target": float("inf")}, r"--target inf: must lie between 0 and 1"),
        ({"seed": -1}, r"--seed -1: must lie between"),
        ({"seed": 2**70}, r"--seed \d+: must lie between"),
        (
            {"settings": {"lambda": 1}},
            r"--set lambda: method mask has no such setting; it has: steps, batch, lr, refine",
        ),
        (
            {"method": "random", "settings": {"steps": 1}},
            r"--set steps: method random has no such setting; it has: none",
        ),
        ({"settings": {"steps": "many"}}, r"--set steps=many: method mask needs a whole number there"),
        ({"settings": {"steps": "2.5"}}, r"--set steps=2.5: "),
        ({"settings": {"steps": 2.5}}, r"--set steps=2.5: "),
        ({"settings": {"steps": float("inf")}}, r"--set steps=inf: "),
        ({"settings": {"steps": float("nan")}}, r"--set steps=nan: "),
        ({"settings": {"steps": -1}}, r"--set steps=-1: must be a finite number, not below 0"),
        ({"settings": {"lr": "nan"}}, r"--set lr=nan: must be a finite number"),
        ({"settings": {"lr": "-0.1"}}, r"--set lr=-0.1: must be a finite number, not below 0"),
        ({"method": "published", "settings": {"batch": 0}}, r"--set batch=0: must be a finite number, not below 1"),
        ({"method": "ig", "settings": {"steps": 0}}, r"--set steps=0: must be a finite number, not below 1"),
        (
            {"method": "published", "settings": {"per_position": "perhaps"}},
            r"--set per_position=perhaps: .* true or false there",
        ),
    ],
)
def test_wrong_use_names_the_flag(
    searchable: Callable[[str], SearchableProblem], changes: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        open_it(searchable("gpt2"), **changes)


def test_settings_take_the_type_of_their_default() -> None:
    given = {"lambda": "3", "steps": "7", "batch": 4.0, "per_position": "False"}
    resolved = METHODS["published"].parse_settings(given).values()
    assert resolved == {"lambda": 3.0, "steps": 7, "batch": 4, "lr": 0.05, "r": 1.3, "per_position": False}
    assert [type(resolved[name]) for name in ("lambda", "steps", "batch")] == [float, int, int]


def test_a_quick_search_keeps_what_the_user_set() -> None:
    mask = METHODS["mask"]
    quick = mask.settings_class.quick
    assert set(quick) == {"steps", "batch"}
    assert mask.quick_settings({}).values() == mask.parse_settings({}).values() | quick
    own = {"steps": 7, "refine": 3}
    assert mask.quick_settings(own) == mask.parse_settings(own | {"batch": quick["batch"]})
    assert METHODS["ig"].quick_settings({"errors": True}) == METHODS["ig"].parse_settings({"errors": True})


def test_every_setting_ends_up_in_the_result(searchable: Callable[[str], SearchableProblem]) -> None:
    result, _ = run_search(searchable("gpt2").search("published", 0.7, seed=4, steps=2, batch=3))
    assert dict(result.settings) == METHODS["published"].parse_settings({"steps": 2, "batch": 3}).values()
    assert (result.method, result.target, result.seed) == ("published", 0.7, 4)


def swapped(problem: Problem) -> Problem:
    """The same prompts asked for the other answer."""
    splits = {
        name: replace(split, answers=split.answers.swapped(torch.arange(len(split))))
        for name, split in problem.splits.items()
    }
    return replace(problem, splits=splits)


def test_a_task_the_model_cannot_do(searchable: Callable[[str], SearchableProblem]) -> None:
    hopeless = SearchableProblem.of(swapped(searchable("gpt2").problem))
    mean = hopeless.train.baselines.plain.mean_logit_diff
    words = rf"task able: the model cannot do it: accuracy 0%, logit difference {mean:.2f} on 12 train prompts; try"
    with pytest.raises(UserError, match=words):
        open_it(hopeless)


def test_a_splice_that_destroys_the_task(
    searchable: Callable[[str], SearchableProblem], tiny_model: Callable[[str], TinyModel]
) -> None:
    able = searchable("llama").problem
    dropped = SearchableProblem.of(open_problem(tiny_model("llama"), able.task, "shared", errors="drop"))
    baselines = dropped.train.baselines
    spliced, plain = baselines.spliced.mean_logit_diff, baselines.plain.mean_logit_diff
    words = rf"splicing in the SAEs alone destroys .* {spliced:.2f} against {plain:.2f} .*--errors keep"
    with pytest.raises(UserError, match=words):
        open_it(dropped)
    check_worth_searching(able, searchable("llama").train)


def test_nothing_to_find_at_these_sites(searchable: Callable[[str], SearchableProblem]) -> None:
    """Every node is at its reference already: the empty circuit is the model."""
    problem = searchable("gpt2").problem
    nothing = SearchableProblem.of(problem)
    baselines = replace(nothing.train.baselines, empty=nothing.train.baselines.plain)
    nothing.train.baselines = baselines
    mean = baselines.plain.mean_logit_diff
    words = rf"task able: ablating every node leaves a logit difference of {mean:.2f} of the model's {mean:.2f}"
    with pytest.raises(UserError, match=words):
        open_it(nothing)


TOY = '''
"""Keeps the first nodes there are."""
import torch
from circuit_tui.core.search.method import SearchMethod
from circuit_tui.core.search.method_settings import MethodSettings


class ToySettings(MethodSettings):
    most: int = 4


class ToyMethod(SearchMethod):
    def steps(self):
        kept = torch.zeros(len(self.problem.space), dtype=torch.bool)
        for node in range(self.settings.most):
            if self.stopped:
                return
            kept = kept.clone()
            kept[node] = True
            self.offer(kept, self.judge.judge(kept).result())
            yield self.progress("eliminate", kept, 0.5)
'''


def test_a_method_is_one_file_and_one_line(
    searchable: Callable[[str], SearchableProblem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "firsts.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "toy", MethodInfo("toy", "first nodes", "firsts:ToyMethod", "firsts:ToySettings"))
    problem = searchable("gpt2")
    result, events = run_search(problem.search("toy", 0.5, most=3))
    assert result.method == "toy"
    assert result.nodes <= {0, 1, 2}
    assert [event.size for event in events[:3]] == [1, 2, 3]
    fresh = problem.train.evaluate(problem.circuit(result.nodes)).result()
    assert result.train.faithfulness == pytest.approx(fresh.faithfulness, abs=1e-6)
    stopped = problem.search("toy", 0.5)
    next(stopped)
    stopped.stop()
    assert run_search(stopped)[0].stopped


def test_a_method_that_offers_nothing_returns_everything(
    searchable: Callable[[str], SearchableProblem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "idle.py").write_text(TOY.replace("most: int = 4", "most: int = 0"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "idle", MethodInfo("idle", "", "idle:ToyMethod", "idle:ToySettings"))
    result, _ = run_search(searchable("gpt2").search("idle"))
    assert len(result.nodes) == len(searchable("gpt2").problem.space)
    assert result.train.faithfulness == pytest.approx(float(torch.tensor(1.0)), abs=1e-4)
