"""Contributions of nodes and tokens, against the plain model run once for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.latents import contributions as contributions_module
from circuit_tui.core.session.explanations import PromptExplanation, latent_prompts
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Task

CASES = (
    ("gpt2", "index", "each", "keep"),
    ("llama", "roles", "each", "mean"),
    ("gemma2", "mixed", "end", "drop"),
    ("gpt2", "mixed", "shared", "keep"),
    ("llama", "roles-multi", "each", "drop"),
)


def logit_difference(naive: Naive, prompt: int, nodes: set[tuple[int, str, int]]) -> float:
    if naive.several:
        asked = lambda prefix: naive.kept("test", prompt, nodes, prefix)  # noqa: E731
        return naive.measure_answers("test", prompt, asked)[0]
    return naive.measure("test", prompt, naive.kept("test", prompt, nodes))[0]


def swapped(task: Task) -> Task:
    """The task whose held-out clean prompts are the corrupt ones."""
    return replace(task, pairs=tuple(replace(p, clean=p.corrupt) if p.split == "test" else p for p in task.pairs))


@pytest.mark.parametrize(("shape", "task", "kind", "errors"), CASES, ids=["-".join(case) for case in CASES])
def test_a_contribution_is_what_the_prompt_loses_without_the_node(
    tiny_model: Callable[[str], TinyModel],
    shape: str,
    task: str,
    kind: str,
    errors: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contributions_module, "MAX_COPIES", 3)
    tiny, given = tiny_model(shape), TASKS[task]
    problem = open_problem(tiny, given, kind, errors=errors)  # type: ignore[arg-type]
    kept = random_circuit(problem, 12 / len(problem.space), 1)
    explained = PromptExplanation(problem, kept, 1).complete()
    assert explained.corrupt is not None
    all_named = names_of_nodes(problem, kept)
    for side, asked in ((explained.clean, given), (explained.corrupt, swapped(given))):
        naive = open_naive(tiny, problem)
        naive.task = asked
        full = logit_difference(naive, 1, all_named)
        assert side.logit_diff == pytest.approx(full, abs=2e-4)
        assert list(side.nodes) == kept.nonzero()[:, 0].tolist()
        for node, value in zip(side.nodes, side.values, strict=True):
            without = kept.clone()
            without[node] = False
            assert value == pytest.approx(full - logit_difference(naive, 1, names_of_nodes(problem, without)), abs=2e-4)


def test_a_token_contributes_what_its_nodes_do_together(tiny_model: Callable[[str], TinyModel]) -> None:
    """Where every token has a position of its own, its nodes are those of that position."""
    tiny, given = tiny_model("gpt2"), TASKS["index"]
    problem = open_problem(tiny, given, "each", errors="keep")
    kept, naive = random_circuit(problem, 0.2, 2), open_naive(tiny, problem)
    explained = PromptExplanation(problem, kept, 0).complete()
    full = logit_difference(naive, 0, names_of_nodes(problem, kept))
    assert [token.strip() for token in explained.clean.tokens] == given.split("test")[0].clean.split()
    for position, value in enumerate(explained.clean.by_token):
        without = kept & (problem.space.position != position)
        assert value == pytest.approx(full - logit_difference(naive, 0, names_of_nodes(problem, without)), abs=1e-4)


@pytest.mark.parametrize(
    "saes",
    [
        (TinySae("blocks.1.hook_resid_post", "standard", config=(("normalize_activations", "layer_norm"),)),),
        (
            TinySae("blocks.1.hook_mlp_in", "skip", "blocks.1.hook_mlp_out"),
            TinySae("blocks.2.hook_attn_out", "jumprelu"),
        ),
        (TinySae("blocks.0.attn.hook_z", "gated"), TinySae("blocks.0.hook_mlp_out", "topk")),
    ],
    ids=["normalised", "transcoder", "inside-one-block"],
)
def test_at_every_kind_of_site(saes: tuple[TinySae, ...], tmp_path: Path) -> None:
    tiny = build_model_with("gpt2", tmp_path, saes)
    problem = open_problem(tiny, TASKS["index"], "each", errors="keep")
    kept, naive = random_circuit(problem, 10 / len(problem.space), 3), open_naive(tiny, problem)
    explained = PromptExplanation(problem, kept, 2).complete().clean
    full = logit_difference(naive, 2, names_of_nodes(problem, kept))
    for node, value in zip(explained.nodes, explained.values, strict=True):
        without = kept.clone()
        without[node] = False
        assert value == pytest.approx(full - logit_difference(naive, 2, names_of_nodes(problem, without)), abs=2e-4)


def live_of(problem: Problem, kept: Tensor) -> LiveCircuit:
    return LiveCircuit(Evaluator(problem, "test", size=2), kept)


@pytest.mark.parametrize("on", [True, False])
def test_the_prompts_on_which_nodes_matter_most(tiny_model: Callable[[str], TinyModel], on: bool) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["mixed"], "end", errors="keep")
    kept, naive = random_circuit(problem, 0.3, 4), open_naive(tiny_model("gpt2"), problem)
    nodes = tuple((kept == on).nonzero()[:3, 0].tolist())
    chosen = torch.zeros_like(kept)
    chosen[list(nodes)] = True
    found = latent_prompts(live_of(problem, kept), chosen).result()
    assert found.nodes == nodes
    assert found.kept == on
    other = kept.clone()
    other[list(nodes)] = not on
    sign = 1 if on else -1
    effects = [abs(row.effect) for row in found.prompts]
    assert effects == sorted(effects, reverse=True)
    assert sorted(row.prompt for row in found.prompts) == list(range(len(TASKS["mixed"].split("test"))))
    evaluator = Evaluator(problem, "test", size=2)
    both = [evaluator.faithfulness(some).result() for some in (kept, other)]
    assert found.faithfulness == pytest.approx(sign * (both[0] - both[1]), abs=1e-5)
    by_prompt = torch.zeros(len(found.prompts), dtype=torch.float64)
    for row in found.prompts:
        by_prompt[row.prompt] = row.effect
    assert found.interval == pytest.approx(evaluator.interval(by_prompt))
    for row in found.prompts:
        circuit, changed = (logit_difference(naive, row.prompt, names_of_nodes(problem, k)) for k in (kept, other))
        assert row.circuit == pytest.approx(circuit, abs=1e-4)
        assert row.effect == pytest.approx(sign * (circuit - changed), abs=1e-4)


def test_a_side_fills_in_and_one_that_cannot_be_ablated_says_why(tiny_model: Callable[[str], TinyModel]) -> None:
    """Resampling draws from corrupt train prompts of the same length: there may be none for a corrupt test prompt."""
    task = TASKS["mixed"]
    pairs = tuple(
        replace(pair, corrupt=f"{pair.corrupt} often") if (pair.split, len(pair.clean.split())) == ("test", 7) else pair
        for pair in task.pairs
    )
    problem = open_problem(tiny_model("gpt2"), replace(task, pairs=pairs), "end", "resample", errors="keep")
    lengths = [len(pair.corrupt.split()) for pair in replace(task, pairs=pairs).split("test")]
    long = lengths.index(8) if 8 in lengths else lengths.index(max(lengths))
    work = PromptExplanation(problem, torch.ones(len(problem.space), dtype=torch.bool), long)
    first = work.view()
    assert first.clean.n_done == 0
    assert not first.done
    done = work.complete()
    assert done.clean.n_done == len(problem.space)
    assert done.corrupt is None
    assert "no corrupt train prompt has" in done.corrupt_error
