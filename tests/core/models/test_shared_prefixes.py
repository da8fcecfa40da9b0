"""Rows that begin alike run once there, and every number stays what plain hooks measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models import make_model
from tiny.models_with_saes import CPU, TinyModel, TinySae, build_model_with
from tiny.problems import open_naive, open_problem
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.choices import AblationKind, PositionsKind
from circuit_tui.core.evaluation import incremental_pass
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.incremental_pass import can_trace
from circuit_tui.core.latents.contributions import contributions
from circuit_tui.core.models import shared_prefixes
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.models.shared_prefixes import PrefixTree, SharedPrefixRunner, shared_runner, verify_sharing
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.search.objective import MaskedModel, faithfulness_gradient
from circuit_tui.core.search.ranking import RankingMethod
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

SHAPES = ("gpt2", "neox", "llama", "gemma2", "gemma3", "qwen3")


@pytest.fixture
def sharing(
    tiny_model: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], TinyModel]]:
    """A tiny model that shares beginnings until the test ends, however little that saves."""
    monkeypatch.setattr(shared_prefixes, "WORTH_SHARING", 0)
    monkeypatch.setattr(shared_prefixes, "MOST_DIFFERENT", 1.0)
    used: list[TinyModel] = []

    def opened(shape: str) -> TinyModel:
        used.append(tiny_model(shape))
        verify_sharing(used[-1].model, torch.arange(3, 11).reshape(2, 4))
        assert used[-1].model.can_share_prefixes
        return used[-1]

    yield opened
    for each in used:
        each.model.can_share_prefixes = False


def runs_shared(problem: Problem) -> bool:
    """Whether the test prompts run as a tree, and some of their tokens with it."""
    batches = problem.batches("test")
    return all(isinstance(batch.runner(problem.model), SharedPrefixRunner) for batch in batches) and any(
        batch.share_run(problem.model) < 1 for batch in batches
    )


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=8))
def test_a_tree_has_every_beginning_once(rows: list[list[int]]) -> None:
    tree = PrefixTree.of(torch.tensor(rows).unsqueeze(2))
    beginnings = {tuple(row[: column + 1]) for row in rows for column in range(4)}
    assert len(tree.rows) == len(beginnings)
    for row, tokens in zip(rows, tree.token_of.tolist(), strict=True):
        for column, token in enumerate(tokens):
            first, at = int(tree.rows[token]), int(tree.columns[token])
            assert at == column
            assert rows[first][: at + 1] == row[: at + 1]
            assert tree.ancestors[token].tolist() == tokens[:column] + [token] * (4 - column)
    whole = torch.tensor([[hash(tuple(row[: column + 1])) % 997 for column in range(4)] for row in rows])
    assert torch.equal(tree.scatter(tree.gather(whole)), whole)


def test_tokens_are_alike_only_if_all_that_is_named_is() -> None:
    tokens, kinds = torch.tensor([[5, 6, 7], [5, 6, 7]]), torch.tensor([[0, 1, 2], [0, 3, 2]])
    assert PrefixTree.of(torch.stack([tokens, kinds], 2)).token_of.tolist() == [[0, 1, 3], [0, 2, 4]]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_family_gives_the_logits_of_whole_rows(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_prefixes, "WORTH_SHARING", 0)
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.float32)
    tokens = torch.tensor([[3, 4, 5, 6, 7], [3, 4, 8, 6, 7], [3, 4, 5, 6, 9], [3, 4, 5, 6, 7]])
    columns, seen = torch.tensor([4, 2, 3, 4]), list[int]()
    expected = model.logits_from(model.embed(tokens), 0, columns)
    assert isinstance(shared_runner(model, columns + 1, [tokens]), type(model))  # not before it was verified
    verify_sharing(model, tokens[:2])
    runner = shared_runner(model, columns + 1, [tokens])
    assert isinstance(runner, SharedPrefixRunner)
    handle = model.bridge.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0][..., 0].numel()))
    got = runner.logits_from(runner.run_blocks(runner.embed(tokens), 0, 1), 1, columns)
    handle.remove()
    assert seen[-1] == 9  # of 20 tokens
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kind", "task", "ablation"),
    [
        ("gpt2", "shared", "mixed", "mean"),
        ("llama", "each", "roles", "clean-mean"),
        ("gemma2", "shared", "mixed", "resample"),
        ("llama", "shared", "longer", "zero"),
    ],
)
def test_a_circuit_measures_what_plain_hooks_measure(
    sharing: Callable[[str], TinyModel], shape: str, kind: PositionsKind, task: str, ablation: AblationKind
) -> None:
    opened = sharing(shape)
    problem = open_problem(opened, TASKS[task], kind, ablation)
    assert runs_shared(problem)
    assert_circuits_agree(opened, Evaluator(problem, "test"), seed=0)


@pytest.mark.parametrize("task", ["mixed", "mixed-multi"])
def test_the_mask_s_gradient_is_that_of_plain_hooks(sharing: Callable[[str], TinyModel], task: str) -> None:
    problem = open_problem(sharing("gpt2"), TASKS[task], "shared")
    check_gradient(problem, open_naive(sharing("gpt2"), problem))


def test_sites_within_a_block_see_each_different_token_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_prefixes, "WORTH_SHARING", 0)
    monkeypatch.setattr(shared_prefixes, "MOST_DIFFERENT", 1.0)
    sites = (TinySae("blocks.0.hook_z", "standard"), TinySae("blocks.1.hook_mlp_out", "topk-raw"))
    opened = build_model_with("gpt2", tmp_path, sites)
    verify_sharing(opened.model, torch.arange(3, 11).reshape(2, 4))
    problem = open_problem(opened, TASKS["mixed"], "shared")
    assert runs_shared(problem)
    assert_circuits_agree(opened, Evaluator(problem, "test"), seed=0)


def test_errors_that_are_kept_keep_rows_apart(sharing: Callable[[str], TinyModel]) -> None:
    problem = open_problem(sharing("gpt2"), TASKS["mixed"], "shared", errors="keep")
    assert not runs_shared(problem)


def test_traces_of_all_tokens_are_kept_where_most_differ(
    sharing: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = open_problem(sharing("gpt2"), TASKS["mixed"], "shared")
    batches = problem.batches("test")
    tokens = sum(batch.n_tokens for batch in batches)
    share = sum(batch.share_run(problem.model) * batch.n_tokens for batch in batches) / tokens
    for limit, traced in ((share - 0.01, True), (share + 0.01, False)):
        monkeypatch.setattr(incremental_pass, "FEW_DIFFERENT", limit)
        assert can_trace(problem, batches) is traced


def apart(problem: Problem) -> Problem:
    """The problem with new batches, of which every row runs."""
    problem.model.can_share_prefixes = False
    return problem


def last_block_tokens(problem: Problem, run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `run` returns, and the largest number of tokens that a pass through the last block had in it."""
    seen: list[int] = []
    block = problem.model.bridge.blocks[-1]
    handle = block.register_forward_pre_hook(lambda _, args: seen.append(args[0][..., 0].numel()))
    try:
        return run(), max(seen)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("shape", "kind", "task", "ablation"),
    [
        ("gpt2", "each", "roles", "mean"),
        ("llama", "each", "roles", "resample"),
        ("gemma2", "each", "roles", "zero"),
    ],
)
@pytest.mark.parametrize("n_positions", [0, 1])
def test_behind_a_site_tokens_without_nodes_are_alike_whatever_they_were(
    sharing: Callable[[str], TinyModel],
    shape: str,
    kind: PositionsKind,
    task: str,
    ablation: AblationKind,
    n_positions: int,
) -> None:
    problem = open_problem(sharing(shape), TASKS[task], kind, ablation)
    kept = problem.space.position < n_positions
    batches = Evaluator(problem, "train", prepared=False)
    shared, few = last_block_tokens(problem, lambda: batches.measure(kept).result().logit_diff)
    _, many = last_block_tokens(problem, lambda: batches.measure(torch.ones_like(kept)).result().logit_diff)
    whole = Evaluator(apart(problem), "train", prepared=False).measure(kept).result().logit_diff
    torch.testing.assert_close(shared, whole, rtol=1e-4, atol=1e-5)
    assert few < many


def test_the_gradient_of_few_nodes_is_that_of_whole_rows(sharing: Callable[[str], TinyModel]) -> None:
    problem = open_problem(sharing("llama"), TASKS["roles"], "each")
    kept = problem.space.position >= problem.n_positions - 2

    def gradient() -> Tensor:
        evaluator = Evaluator(problem, "train")
        return faithfulness_gradient(MaskedModel(problem, kept.nonzero()[:, 0]), evaluator, kept)

    shared, few = last_block_tokens(problem, gradient)
    apart(problem)
    whole, many = last_block_tokens(problem, gradient)
    torch.testing.assert_close(shared, whole, rtol=1e-4, atol=1e-6)
    assert bool(shared.any())
    assert few < many


@pytest.mark.parametrize("method", ["ig", "atp"])
def test_scores_tell_prompts_apart_that_begin_alike(sharing: Callable[[str], TinyModel], method: str) -> None:
    """Their corrupt prompts may differ, and with them what a latent's change is worth."""
    problem = open_problem(sharing("gpt2"), TASKS["index"], "each")

    def scores() -> Tensor:
        evaluator = Evaluator(problem, "train")
        search = Search(problem, evaluator, evaluator, SearchSpec(method, 0.9, 0, {}))
        assert isinstance(search.attempt, RankingMethod)
        found: Tensor = Incremental(search.attempt.score_nodes()).result()
        return found

    shared = scores()
    apart(problem)
    torch.testing.assert_close(shared, scores(), rtol=1e-4, atol=1e-6)


def test_copies_of_a_prompt_that_lack_different_nodes_all_run(sharing: Callable[[str], TinyModel]) -> None:
    problem = open_problem(sharing("llama"), TASKS["roles"], "each")
    kept = torch.ones(len(problem.space), dtype=torch.bool)
    shared = contributions(problem, kept, "train", 0).result()
    whole = contributions(apart(problem), kept, "train", 0).result()
    assert shared.values == pytest.approx(whole.values, abs=1e-5)
    assert shared.by_token == pytest.approx(whole.by_token, abs=1e-5)
    assert any(abs(value) > 1e-3 for value in shared.values.values())
