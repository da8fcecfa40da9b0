"""Prompts padded on the left have the same numbers as in the oracle, which pads none, for every position embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models import make_model
from tiny.models_with_saes import CPU, TinyModel, TinySae, build_model_with
from tiny.problems import open_naive, open_problem, random_circuit
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task
from tiny.tasks import TASKS

from circuit_tui.core.choices import ErrorsKind, PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.models.block_arguments import MAX_LEFT_PADDED
from circuit_tui.core.models.check_pass import check_pass
from circuit_tui.core.models.left_padding import LeftPaddedRunner, runner_for
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.search.methods.attribution import PathEnds, batches_of_pairs
from circuit_tui.core.session.session import open_session

SHAPES = ("gpt2", "neox", "llama", "gemma2", "gemma3", "qwen3")


@pytest.fixture
def left(tiny_model: Callable[[str], TinyModel]) -> Iterator[Callable[[str], TinyModel]]:
    """A tiny model that pads on the left until the test is over."""
    used: list[TinyModel] = []

    def opened(shape: str) -> TinyModel:
        used.append(tiny_model(shape))
        used[-1].model.padding_side = "left"
        return used[-1]

    yield opened
    for each in used:
        each.model.padding_side = "right"


@pytest.mark.parametrize(
    ("kind", "task", "errors"),
    [
        ("shared", "mixed", "mean"),
        ("each", "roles", "keep"),
        ("end", "mixed-multi", "drop"),
        ("shared", "longer", "drop"),
    ],
)
@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_a_circuit_measures_what_plain_hooks_measure(
    left: Callable[[str], TinyModel], shape: str, kind: PositionsKind, task: str, errors: ErrorsKind
) -> None:
    problem = open_problem(left(shape), TASKS[task], kind, errors=errors, batch_size=3)
    assert_circuits_agree(left(shape), Evaluator(problem, "test"), seed=0)


@pytest.mark.parametrize("task", ["mixed", "mixed-multi"])
def test_the_mask_s_gradient_is_that_of_plain_hooks(left: Callable[[str], TinyModel], task: str) -> None:
    problem = open_problem(left("gpt2"), TASKS[task], "shared")
    check_gradient(problem, open_naive(left("gpt2"), problem))


def test_sites_within_a_block_see_each_prompt_s_own_tokens(tmp_path: Path) -> None:
    tiny_model = build_model_with(
        "gpt2", tmp_path, (TinySae("blocks.0.hook_z", "standard"), TinySae("blocks.1.hook_mlp_out", "topk-raw"))
    )
    tiny_model.model.padding_side = "left"
    problem = open_problem(tiny_model, TASKS["mixed"], "shared", errors="keep")
    assert_circuits_agree(tiny_model, Evaluator(problem, "test"), seed=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_family_gives_the_logits_of_each_prompt_alone(shape: str, tmp_path: Path) -> None:
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.float32)
    model.padding_side = "left"
    tokens, lengths = torch.arange(3, 19).reshape(2, 8), torch.tensor([4, 8])
    view = runner_for(model, lengths)
    resid = view.embed(tokens)
    for start in range(model.n_layers + 1):
        got = view.logits_from(view.run_blocks(resid, 0, start), start, lengths - 1)
        for row, length in enumerate(lengths.tolist()):
            alone = model.bridge(tokens[row : row + 1, :length], return_type="logits")[0, -1]
            torch.testing.assert_close(got[row], alone, rtol=1e-4, atol=1e-4)


def test_the_blocks_really_see_the_padding_on_the_left(left: Callable[[str], TinyModel]) -> None:
    model, seen = left("gpt2").model, []
    view = runner_for(model, torch.tensor([2, 4]))
    tokens = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])
    handle = model.bridge.blocks[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        resid = view.embed(tokens)
        out = view.run_blocks(resid, 1, 2)
    finally:
        handle.remove()
    torch.testing.assert_close(seen[-1][0, 2:], resid[0, :2])
    torch.testing.assert_close(seen[-1][1], resid[1])
    assert runner_for(model, torch.tensor([2, 4])) is not model
    model.padding_side = "right"
    assert runner_for(model, torch.tensor([2, 4])) is model
    torch.testing.assert_close(out[0, :2], model.run_blocks(resid, 1, 2)[0, :2], rtol=1e-4, atol=1e-5)


def test_what_was_recorded_for_old_batches_is_let_go(left: Callable[[str], TinyModel]) -> None:
    model = left("llama").model
    for length in range(2, 20):
        view = runner_for(model, torch.tensor([2, length]))
        view.run_blocks(view.embed(torch.zeros(2, length, dtype=torch.long)), 0, 1)
    assert len(model.recordings.left_padded) == MAX_LEFT_PADDED


def test_attributions_take_the_same_ends(tiny_model: Callable[[str], TinyModel]) -> None:
    """With the errors added back, both ends of the path run again, and are the same when padded on the left."""
    found = []
    for side in ("right", "left"):
        opened = tiny_model("gpt2")
        opened.model.padding_side = side  # type: ignore[assignment]
        problem = open_problem(opened, TASKS["roles"], "each")
        (batch,) = batches_of_pairs(problem, "ig")
        ends = PathEnds.of(problem, batch, keep_errors=True)
        real = problem.alignment.ids["train", "clean"][batch.rows] >= 0
        found.append([x[real] for part in (ends.clean, ends.corrupt, ends.errors) for x in part if x is not None])
    opened.model.padding_side = "right"
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_session_has_the_same_numbers_either_way(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    opened = tiny_model("llama")
    task = solvable_task(opened, (5, 6, 7, 6, 7, 5, 8, 6), (5, 7, 6))
    prompts = write_prompts(task, tmp_path / "able.jsonl")
    views: list[Any] = []
    for side in ("right", "left"):
        session = open_session(request(opened, prompts, positions="shared", errors="keep", padding=side))
        assert session.problem.model.padding_side == side
        session.only(random_circuit(session.problem, 0.4, 1).nonzero()[:, 0].tolist())
        while session.work():
            pass
        views.append(session.view())
    for name in ("faithfulness", "completeness", "kl", "cross_entropy", "logit_diff"):
        one, other = (getattr(view.test, name) for view in views)
        assert one == pytest.approx(other, abs=1e-4)


def test_a_model_that_minds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [torch.arange(3, 6), torch.arange(3, 11)]
    model = load_model(str(make_model("gpt2", tmp_path)), CPU, torch.float32, prompts=prompts)
    model.padding_side = "left"
    check_pass(model, model.passes, 2)
    monkeypatch.setattr(
        LeftPaddedRunner, "attention_mask", lambda runner, width: torch.ones(len(runner._lengths), width).long()
    )
    with pytest.raises(UserError, match=r"of 3 and 8 tokens in one batch padded on the left \(--padding right\)"):
        check_pass(model, model.passes, 2)
