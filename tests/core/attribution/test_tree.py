"""Trees of attributions, and the words that name what is taken apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import TASKS

from circuit_tui.core.attribution.parts import LatentTarget, LogitTarget
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.attribution.tree import Tree, attribution_tree, find_target, open_run
from circuit_tui.core.circuits.schema import TaskSource
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.open_problem import OpenedProblem


@pytest.fixture(scope="module")
def run(tiny_model: Callable[[str], TinyModel]) -> PlainRun:
    problem = open_problem(tiny_model("llama"), TASKS["roles"])
    opened = OpenedProblem(problem, "tiny", TaskSource(kind="file", path="tiny.jsonl"))
    return open_run(opened, "the cat near the dogs often")  # it matches no template: no positions are needed


def test_every_level_adds_up_down_to_the_embeddings(run: PlainRun) -> None:
    kinds = set()

    def check(tree: Tree, levels: int) -> int:
        assert tree.expansion.total == pytest.approx(tree.expansion.value, abs=1e-3)
        kinds.update(branch.part.kind for branch in tree.branches)
        below = [check(branch.tree, levels + 1) for branch in tree.branches if branch.tree is not None]
        for branch in tree.branches:
            if branch.tree is not None:
                target = branch.tree.expansion.target
                assert isinstance(target, LatentTarget)
                assert (target.latent, target.token) == (branch.part.latent, branch.part.token)
        return max([levels, *below])

    assert check(attribution_tree(run, find_target(run, None), depth=3, n_parts=6), 1) == 3
    assert {"latent", "embedding", "block", "constant", "others"} <= kinds


def test_the_default_is_the_likeliest_token_behind_the_prompt(run: PlainRun) -> None:
    expected = LogitTarget(len(run.tokens) - 1, int(run.logits[-1].argmax()))
    assert find_target(run, None) == expected


def test_words_name_tokens_and_latents(run: PlainRun) -> None:
    cat, dog = (run.model.tokenizer.convert_tokens_to_ids(word) for word in ("cat", "dog"))
    assert find_target(run, "cat", "dog", 3) == LogitTarget(3, cat, dog)
    assert find_target(run, f"{run.sites[1].short}/7", token=2) == LatentTarget(1, 7, 2)


@pytest.mark.parametrize(
    ("of", "minus", "at", "says"),
    [
        ("zebra", None, None, "--of 'zebra': not one token"),
        ("cat", "zebra", None, "--minus 'zebra': not one token"),
        ("cat", None, 99, "--at 99: the prompt has tokens 0 to 6"),
        ("L9/3", None, None, "--of L9/3: no SAE is at L9"),
        ("L0/3", "cat", None, "--minus: only of a token"),
    ],
)
def test_words_that_name_nothing_are_refused(
    run: PlainRun, of: str, minus: str | None, at: int | None, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        find_target(run, of, minus, at)


def test_half_precision_is_refused(tiny_model: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_model("gpt2")
    monkeypatch.setattr(type(tiny.model), "dtype", torch.bfloat16)
    with pytest.raises(UserError, match="--dtype bfloat16: attribution needs float32"):
        PlainRun(tiny.model, tiny.sites, torch.tensor([0, 3, 4]), 1)
