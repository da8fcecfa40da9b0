"""The memory plan, compared with the memory that is then allocated."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kept_bytes import kept_bytes
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task
from tiny.tasks import with_multi_token_answers

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.incremental_pass import MEMORY_SHARE
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.opening.memory_plan import SplitShape, plan_for_shapes, plan_memory
from circuit_tui.core.opening.open_problem import load_model_and_sites, open_problem
from circuit_tui.core.opening.pass_memory import ModelShape, SiteShape
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime import device_memory
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.tui.cli import main


@pytest.fixture
def asked(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> OpenRequest:
    tiny = tiny_model("gpt2")
    return request(tiny, write_prompts(solvable_task(tiny, (6,) * 12, (6,) * 7), tmp_path / "p.jsonl"))


def test_weights_and_prompts_take_what_is_planned(asked: OpenRequest) -> None:
    planned = plan_memory(asked)
    opened = open_problem(asked, lambda stage: None).problem
    model = {id(p): p.numel() for p in opened.model.bridge.original_model.parameters()}
    assert planned.model == pytest.approx(4 * sum(model.values()), rel=0.01), "the bridge adds one bias"
    saes = sum(p.numel() for site in opened.sites for p in site.sae.sae.parameters())
    assert planned.saes == pytest.approx(4 * saes, rel=0.1), (
        "an SAE has thresholds and the like beside its two matrices"
    )
    held = [part.prefix for part in opened.splits.values()] + [part.plain_logits for part in opened.splits.values()]
    held += [*opened.spliced_resids, *opened.spliced_corrupt_resids]
    n_train, length = opened.prompt_sets["train"].corrupt.tokens.shape
    corrupt_prefix = n_train * length * opened.model.d_model
    assert planned.prompts == 4 * (sum(tensor.numel() for tensor in held) + corrupt_prefix)
    assert planned.n_prompts == planned.batch == 12


def test_answers_of_several_tokens_are_planned_for(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    tiny = tiny_model("gpt2")
    task = with_multi_token_answers(solvable_task(tiny, (6,) * 12, (6,) * 7))
    asked = request(tiny, write_prompts(task, tmp_path / "said.jsonl"))
    planned = plan_memory(asked)
    opened = open_problem(asked, lambda stage: None).problem
    held = [part.prefix for part in opened.splits.values()] + [part.plain_logits for part in opened.splits.values()]
    held += [*opened.spliced_resids, *opened.spliced_corrupt_resids]
    n_rows, length = opened.prompt_sets["train"].corrupt.tokens.shape
    assert n_rows == 24
    assert planned.prompts == 4 * (sum(tensor.numel() for tensor in held) + n_rows * length * opened.model.d_model)
    assert planned.n_prompts == 12
    measured = kept_bytes(opened, torch.arange(12)) / 12
    assert planned.a_prompt / 4 < measured < planned.a_prompt * 2


def test_masks_are_planned_for_like_the_model_they_are_opened_on(asked: OpenRequest, tmp_path: Path) -> None:
    masks = tmp_path / "m.json"
    masks.write_text(json.dumps({"blocks.1.hook_resid_post": [3]}))
    alone, with_masks = plan_memory(asked), plan_memory(replace(asked, circuit=masks))
    assert replace(with_masks, free=alone.free) == alone


def test_a_pass_is_about_what_a_step_keeps(asked: OpenRequest) -> None:
    planned = plan_memory(asked)
    problem = open_problem(asked, lambda stage: None).problem
    measured = kept_bytes(problem, torch.arange(12)) / 12
    assert planned.a_prompt / 4 < measured < planned.a_prompt * 2, (measured, planned.a_prompt)


def most_allocated(run: Callable[[], Any]) -> tuple[Any, int, int]:
    """Returns the result of `run()`, the most bytes that torch's allocator held during it, and those held after it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = run()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    sizes = list(itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]"))
    return result, max(sizes), sizes[-1]


def test_opening_and_a_step_stay_below_the_plan_and_not_far(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """The allocator counts; model and SAEs are loaded before it begins."""
    tiny, n_prompts = tiny_model("gpt2"), 64
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * n_prompts, (6,) * 7), tmp_path / "p.jsonl"))
    loaded, planned = load_model_and_sites(asked, lambda stage: None), plan_memory(asked)
    opened, opening, held = most_allocated(lambda: open_problem(asked, lambda stage: None, loaded=loaded))
    assert held == pytest.approx(planned.prompts, rel=0.1)

    def step() -> None:
        masked = MaskedModel(opened.problem, torch.arange(len(opened.problem.space)))
        mask = torch.ones(len(opened.problem.space), requires_grad=True)
        batch = opened.problem.batch("train", torch.arange(n_prompts))
        masked.logit_difference(mask, batch).sum().backward()

    _, stepping, _ = most_allocated(step)
    most = max(opening, held + stepping)
    assert planned.batch == n_prompts
    whole = planned.prompts + planned.batch * planned.a_prompt
    assert most < whole < 3 * most, (opening, stepping, whole)


@pytest.mark.parametrize("inside", [False, True])
def test_what_is_kept_of_circuits_is_planned_for(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, inside: bool
) -> None:
    """The allocator counts two traces, or the inputs of each group of sites in full passes."""
    within = (TinySae("blocks.0.hook_mlp_out", "standard"), TinySae("blocks.2.attn.hook_z", "jumprelu"))
    tiny = build_model_with("gpt2", tmp_path, within) if inside else tiny_model("gpt2")
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * 64, (6,) * 32), tmp_path / "p.jsonl"))
    loaded, planned = load_model_and_sites(asked, lambda stage: None), plan_memory(asked)
    opened, _, held = most_allocated(lambda: open_problem(asked, lambda stage: None, loaded=loaded))
    assert held == pytest.approx(planned.prompts, rel=0.1)
    problem = opened.problem
    evaluators = [Evaluator(problem, split) for split in ("train", "test")]
    nodes = torch.arange(len(problem.space))

    def follow() -> list[LiveCircuit]:
        lives = [LiveCircuit(evaluator, nodes % 2 == 0) for evaluator in evaluators]
        for live in lives:
            live.advance_to(nodes % 3 == 0).result()
        return lives

    _, _, followed = most_allocated(follow)
    assert planned.followed / 4 < followed < 1.1 * planned.followed, (followed, planned.followed)


def test_without_room_for_traces_full_passes_are_planned_for() -> None:
    splits = {"train": SplitShape(512, 512, 64, 512), "test": SplitShape(128, 128, 64, 128)}
    plans = [
        plan_for_shapes(GEMMA_9B, splits, free, torch.bfloat16, "cuda", OpenRequest(), MEMORY_SHARE)
        for free in (None, 65 * 10**9)
    ]
    a_token = 2 * (2 * 4 * 3584 + (42 - 8) * 2 * 8 * 256)
    assert plans[0].followed == 2 * 640 * 64 * a_token
    assert plans[1].followed == 2 * 128 * 64 * a_token + 4 * 512 * 64 * 3584 * 2, "a quarter of 28 GB is 7"


DEPTHS = (8, 15, 22, 41)
GEMMA_9B = ModelShape(
    9_241_705_984, 3584, 42, 16, 256_000, tuple(SiteShape(131_072, depth) for depth in DEPTHS), 8 * 256
)


def test_a_large_model_is_cut_into_passes_that_fit() -> None:
    splits = {"train": SplitShape(512, 512, 16, 512), "test": SplitShape(128, 128, 16, 128)}
    half = plan_for_shapes(GEMMA_9B, splits, 80 * 10**9, torch.bfloat16, "cuda", OpenRequest(), MEMORY_SHARE)
    assert 18e9 < half.model < 19e9
    assert 15e9 < half.saes < 16e9
    assert half.batch > 1
    assert half.total <= 0.9 * 80e9
    small = plan_for_shapes(GEMMA_9B, splits, 24 * 10**9, torch.bfloat16, "cuda", OpenRequest(), MEMORY_SHARE)
    assert small.batch == 0, "it does not fit"
    asked = plan_for_shapes(GEMMA_9B, splits, 80 * 10**9, torch.bfloat16, "cuda", OpenRequest(batch=3), MEMORY_SHARE)
    assert asked.batch == 3


@pytest.mark.parametrize(("tokens", "least"), [(16, 128), (64, 32)])
def test_a_9b_model_with_four_131k_saes_runs_in_80_gb(tokens: int, least: int) -> None:
    """Model in bfloat16, SAEs in float32: a mask's whole batch fits into a pass at 16 tokens, many prompts at 64."""
    splits = {"train": SplitShape(512, 512, tokens, 512), "test": SplitShape(128, 128, tokens, 128)}
    planned = plan_for_shapes(GEMMA_9B, splits, 80 * 10**9, torch.bfloat16, "cuda:0", OpenRequest(), MEMORY_SHARE)
    assert planned.model == 2 * 9_241_705_984
    assert planned.saes == pytest.approx(4 * 4 * 2 * 131_072 * 3584, rel=0.001)
    assert planned.batch >= least
    assert planned.total <= 0.9 * 80e9


def test_opening_takes_as_many_prompts_as_fit(asked: OpenRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_problem(asked, lambda stage: None).problem.batch_size is None
    a_prompt = plan_memory(asked).a_prompt
    monkeypatch.setattr(device_memory, "free_memory", lambda device: 5.5 * a_prompt / device_memory.SHARE)
    assert open_problem(asked, lambda stage: None).problem.batch_size == 5


def test_nothing_is_loaded(
    asked: OpenRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("circuit_tui.core.opening.open_problem.load_model", loaded)
    monkeypatch.setattr("circuit_tui.core.opening.open_problem.load_saes", loaded)
    folders = [part for folder in asked.sae_dirs for part in ("--sae-dir", str(folder))]
    flags = ["find", "--model", str(asked.model), *folders, "--prompts", str(asked.prompts), "--memory"]
    assert main(flags) == 0
    told = capsys.readouterr().out
    for word in ("model", "SAEs", "prompts", "circuits followed", "a pass of 12 prompts", "free on cpu"):
        assert word in told
    assert main([*flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_prompts"] == 12
    monkeypatch.setattr("circuit_tui.core.opening.memory_plan.free_memory", lambda device: 1000)
    assert main(flags) == 1
    assert "does not fit" in capsys.readouterr().out


def test_shapes_that_cannot_be_had(asked: OpenRequest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="says no d_sae"):
        plan_memory(OpenRequest(model=asked.model, sae_dirs=(tmp_path / "empty",), prompts=asked.prompts))
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="configuration cannot be had"):
        plan_memory(OpenRequest(model=str(tmp_path / "empty"), sae_dirs=asked.sae_dirs, prompts=asked.prompts))
