"""Every quantity of edges against the oracle, in each family, at every kind of site."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from edge_oracle import AnyEnd, EdgeOracle
from naive import Node
from tiny.models_with_saes import TinySae, build_model_with
from tiny.problems import open_naive, open_problem
from tiny.tasks import TASKS, make_task

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.edge_circuit import EdgeCircuit, all_edges, with_edges
from circuit_tui.core.edges.effects import Effects, all_effects, metric_effects
from circuit_tui.core.edges.ends import EdgeSpace
from circuit_tui.core.edges.open_edges import open_passes
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.splice.problem import Problem

NORM = (("normalize_activations", "layer_norm"),)
CONSTANT = (("normalize_activations", "constant_norm_rescale"),)


def transcoder(block: int, kind: str, read: str = "mlp.hook_in") -> TinySae:
    return TinySae(f"blocks.{block}.{read}", kind, f"blocks.{block}.hook_mlp_out")


CASES: dict[str, tuple[str, str, str, str, tuple[TinySae, ...]]] = {
    # name: architecture, task, positions, errors, sites
    "gpt2 streams": (
        "gpt2", "index", "each", "drop",
        (TinySae("blocks.0.hook_resid_pre", "standard"), TinySae("blocks.0.hook_resid_post", "jumprelu"),
         TinySae("blocks.2.hook_resid_post", "gated")),
    ),
    "gpt2 inside": (
        "gpt2", "roles", "each", "mean",
        (TinySae("blocks.0.hook_resid_post", "topk"), TinySae("blocks.1.attn.hook_z", "standard"),
         TinySae("blocks.1.hook_attn_out", "jumprelu"), TinySae("blocks.2.hook_mlp_out", "gated")),
    ),
    "gpt2 shared": (
        "gpt2", "mixed", "shared", "keep",
        (TinySae("blocks.0.hook_resid_post", "jumprelu"), TinySae("blocks.2.hook_resid_pre", "abstopk")),
    ),
    "llama grouped queries": (
        "llama", "index", "each", "keep",
        (TinySae("blocks.0.hook_attn_out", "standard"), transcoder(1, "skip"), TinySae("blocks.2.attn.hook_z", "topk")),
    ),
    "gemma2 capped": (
        "gemma2", "index", "end", "drop",
        (TinySae("blocks.0.hook_attn_out", "standard"), TinySae("blocks.1.attn.hook_z", "jumprelu"),
         TinySae("blocks.1.hook_resid_mid", "topk-rescaled"), transcoder(2, "transcoder", "ln2.hook_normalized")),
    ),
    "neox parallel": (
        "neox", "roles", "each", "keep",
        (TinySae("blocks.0.attn.hook_z", "standard"), TinySae("blocks.1.hook_attn_out", "gated"),
         transcoder(1, "jumprelu-transcoder"), TinySae("blocks.2.hook_resid_post", "jumprelu-centred")),
    ),
    "qwen3 normed": (
        "qwen3", "index", "each", "drop",
        (TinySae("blocks.0.hook_mlp_out", "standard", config=NORM),
         TinySae("blocks.1.hook_attn_out", "standard", config=CONSTANT),
         TinySae("blocks.2.hook_resid_pre", "jumprelu", config=NORM)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    problem: Problem
    space: EdgeSpace
    passes: list[CircuitPass]
    oracle: EdgeOracle
    effects: Effects
    kept: torch.Tensor

    def end(self, number: int) -> AnyEnd:
        end, names = self.space.ends[number], self.problem.alignment.names
        if end.kind == "logits":
            return ("logits",)
        if end.kind == "token":
            return ("token", names[end.position])
        latent = (end.latent,) if end.kind == "latent" else ()
        return (end.kind, end.site, names[end.position], *latent)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def make(name: str) -> Opened:
        shape, task, positions, errors, saes = CASES[name]
        torch.manual_seed(0)
        built = build_model_with(shape, Path(tmp_path_factory.mktemp("edges")), saes)
        problem = open_problem(built, TASKS[task], positions, errors=errors)  # type: ignore[arg-type]
        kept = pick_nodes(problem)
        space, passes = open_passes(problem, kept)
        nodes: set[Node] = {
            (end.site, problem.alignment.names[end.position], end.latent) for end in space.ends if end.kind == "latent"
        }
        oracle = EdgeOracle(open_naive(built, problem), nodes)
        return Opened(problem, space, passes, oracle, all_effects(passes).result(), kept)

    return make


def pick_nodes(problem: Problem, count: int = 3) -> torch.Tensor:
    """A few nodes of each site, most of them at late positions, that fire on clean prompts."""
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    draw = random.Random(1)
    for site in range(len(problem.sites)):
        means = problem.clean_stats[site].means.mean()
        nodes = [
            node for node in problem.space.of_site(site)
            if float(means[problem.space.position[node], problem.space.latent[node]].abs()) > 0.02
        ]  # fmt: skip
        late = [node for node in nodes if int(problem.space.position[node]) >= problem.n_positions - 2]
        kept[draw.sample(late, min(2, len(late))) + draw.sample(nodes, min(count - 1, len(nodes)))] = True
    return kept


def chosen(opened: Opened, count: int) -> list[int]:
    """Edges between all pairs of sites, and between all kinds of ends."""
    by_kind: dict[tuple[Any, ...], list[int]] = {}
    for number, (source, target) in enumerate(opened.effects.edges.tolist()):
        a, b = opened.space.ends[source], opened.space.ends[target]
        by_kind.setdefault((a.kind, a.site, b.kind, b.site), []).append(number)
    draw = random.Random(0)
    return [number for numbers in by_kind.values() for number in draw.sample(numbers, min(count, len(numbers)))]


def has_target(opened: Opened, prompt: int, target: AnyEnd) -> bool:
    return target[0] == "logits" or bool(opened.oracle.tokens_of(prompt, target[2]))


def close(value: float, expected: float, scale: float) -> bool:
    return abs(value - expected) <= 2e-4 * max(scale, abs(expected)) + 2e-6


@pytest.mark.parametrize("name", CASES)
def test_exact_effects_are_those_of_hooks_on_the_plain_model(opened: Any, name: str) -> None:
    made: Opened = opened(name)
    effects, numbers = made.effects, chosen(made, 2)
    scale = float(effects.edge[~effects.edge.isnan()].abs().max())
    metric = metric_effects(made.passes, effects.edges[numbers]).result()
    moved = 0
    for row, number in enumerate(numbers):
        source, target = (made.end(int(end)) for end in effects.edges[number])
        prompt = number % len(made.problem.splits["test"])
        if not has_target(made, prompt, target):
            assert bool(effects.edge[number, prompt].isnan())
            continue
        edge, total = (made.oracle.effect(prompt, source, target, respond=each) for each in (False, True))
        assert close(float(effects.edge[number, prompt]), edge, scale), (source, target, edge)
        assert close(float(effects.total[number, prompt]), total, scale), (source, target, total)
        expected = made.oracle.metric(prompt, source, target)
        assert close(float(metric[row, prompt]), expected, scale), (source, target, expected)
        moved += abs(edge) > 1e-4
    assert moved > len(numbers) / 4


@pytest.mark.parametrize("name", CASES)
def test_no_edge_is_missing(opened: Any, name: str) -> None:
    """A pair that is no edge has no effect."""
    made: Opened = opened(name)
    draw, ends = random.Random(2), range(len(made.space))
    pairs = [
        (a, b) for a in ends for b in ends
        if not made.space.possible[a, b] and made.space.ends[a].site < made.space.ends[b].site
        and made.space.ends[b].kind in ("latent", "logits")
    ]  # fmt: skip
    for a, b in draw.sample(pairs, min(8, len(pairs))):
        source, target = made.end(a), made.end(b)
        for prompt in range(2):
            if has_target(made, prompt, target):
                assert abs(made.oracle.effect(prompt, source, target, respond=False)) < 1e-5, (source, target)


@pytest.mark.parametrize("name", CASES)
def test_frozen_part_and_heads_are_derivatives_under_the_freezes(opened: Any, name: str) -> None:
    made: Opened = opened(name)
    effects, numbers = made.effects, chosen(made, 2)
    scale = float(effects.frozen[~effects.frozen.isnan()].abs().max())
    for number in numbers:
        source, target = (made.end(int(end)) for end in effects.edges[number])
        prompts = [p for p in range(len(made.problem.splits["test"])) if has_target(made, p, target)]
        frozen = [made.oracle.frozen(prompt, source, target) for prompt in prompts]
        for prompt, expected in zip(prompts, frozen, strict=True):
            assert close(float(effects.frozen[number, prompt]), expected, scale), (source, target, expected)
        blocks, heads = effects.heads[number].nonzero(as_tuple=True)
        for block, head in list(zip(blocks.tolist(), heads.tolist(), strict=True))[-2:]:
            part = [
                made.oracle.frozen(prompt, source, target, last_block=block)
                - made.oracle.frozen(prompt, source, target, last_block=block, cut=(block, head))
                for prompt in prompts
            ]
            expected = sum(part) / len(part)
            assert close(float(effects.heads[number, block, head]), expected, scale), (source, target, block, head)


@pytest.mark.parametrize("name", CASES)
def test_sums(opened: Any, name: str) -> None:
    """Parts add up to the frozen part; all edges are the circuit; neighbours on the stream have edge = total."""
    made: Opened = opened(name)
    effects = made.effects
    frozen = effects.frozen.nanmean(1)
    parts = effects.past + effects.heads.sum((1, 2))
    assert float((parts - frozen).abs().max()) <= 1e-4 * float(frozen.abs().max())
    for number, (source, target) in enumerate(effects.edges.tolist()):
        if made.space.ends[target].site == made.space.ends[source].site + 1:
            assert torch.allclose(effects.edge[number], effects.total[number], atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", CASES)
def test_an_edge_circuit_is_what_each_target_sees(opened: Any, name: str) -> None:
    made: Opened = opened(name)
    evaluator = Evaluator(made.problem, "test")
    circuit = EdgeCircuit(made.passes, evaluator.baselines)
    assert circuit.faithfulness == pytest.approx(evaluator.faithfulness(made.kept).result(), abs=1e-4)
    # Every view computed, not taken over: the same circuit again.
    nothing = torch.zeros_like(made.space.possible)
    state = all_edges(made.passes[0])
    again = with_edges(made.passes[0], with_edges(made.passes[0], state, nothing).result(), made.space.possible)
    assert torch.allclose(again.result().logit_difference, state.logit_difference, atol=1e-4)
    draw = torch.Generator().manual_seed(3)
    half = made.space.possible & (torch.rand(nothing.shape, generator=draw) < 0.5)
    latents = [made.end(number) for number, end in enumerate(made.space.ends) if end.kind == "latent"]
    for kept in (nothing, half):
        edges = {(made.end(a), made.end(b)) for a, b in kept.nonzero().tolist()}
        states, _ = circuit.measure(kept).result()
        for circuit_pass, found in zip(made.passes, states, strict=True):
            for row, prompt in list(enumerate(circuit_pass.prompts.batch.prompts.tolist()))[:2]:
                expected = made.oracle.edge_circuit(prompt, edges, latents)
                assert float(found.logit_difference[row]) == pytest.approx(expected, abs=2e-4)


def test_answers_of_several_tokens(tmp_path: Path) -> None:
    """All edges are the circuit, and edges to the logit difference are the loss of the engine's own metric."""
    saes = (TinySae("blocks.0.hook_resid_post", "jumprelu"), TinySae("blocks.1.hook_resid_post", "standard"))
    problem = open_problem(build_model_with("gpt2", tmp_path, saes), TASKS["roles-multi"], "each")
    kept = pick_nodes(problem)
    space, passes = open_passes(problem, kept)
    evaluator = Evaluator(problem, "test")
    effects = all_effects(passes).result()
    assert torch.allclose(effects.logit_difference, evaluator.measure(kept).result().logit_diff, atol=1e-5)
    for number, end in enumerate(space.ends):
        if end.kind == "latent":
            without = kept.clone()
            without[end.node] = False
            loss = effects.logit_difference - evaluator.measure(without).result().logit_diff
            assert torch.allclose(effects.node_total[number], loss, atol=1e-5)


def test_prompts_of_several_lengths_keep_their_order(tmp_path: Path) -> None:
    saes = (TinySae("blocks.0.hook_resid_post", "jumprelu"), TinySae("blocks.1.hook_resid_post", "standard"))
    built = build_model_with("gpt2", tmp_path, saes)
    task = make_task((5, 6, 7, 5, 6, 7), (7, 5, 6, 7, 5), roles=True)
    found = []
    for size in (None, 1):
        problem = open_problem(built, task, "each", batch_size=size)
        found.append(all_effects(open_passes(problem, pick_nodes(problem))[1]).result())
    for name in ("edge", "total", "frozen", "activation", "first_order", "heads", "past", "flips", "node_total"):
        one, other = (getattr(each, name) for each in found)
        assert torch.allclose(one, other, atol=1e-5, equal_nan=True), name
