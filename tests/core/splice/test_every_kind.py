"""Every family of models with every kind of SAE and of site: numbers and mask gradients against plain hooks."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import Naive
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.searches import QUICK, with_candidates
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task
from tiny.tasks import TASKS

from circuit_tui.core.audit.measures.splice_cost import _cross_entropy
from circuit_tui.core.choices import ErrorsKind, PositionsKind
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.latents.top_tokens import TokenNames
from circuit_tui.core.models.readout import Readout
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.latent_view import latent_view
from circuit_tui.core.session.session import open_session
from circuit_tui.core.splice.hook_patch import output_direction
from circuit_tui.core.splice.other_ablation import reference_tables
from circuit_tui.core.splice.problem import Problem

LAYER_NORM = (("normalize_activations", "layer_norm"),)
RESCALE = (("normalize_activations", "constant_norm_rescale"),)
WORLDS: dict[str, tuple[str, tuple[TinySae, ...]]] = {
    "gpt2 heads": ("gpt2", (TinySae("blocks.0.hook_z", "standard"), TinySae("blocks.2.hook_mlp_out", "topk-raw"))),
    "gpt2 normalised": (
        "gpt2",
        (
            TinySae("blocks.0.hook_resid_post", "topk", config=LAYER_NORM),
            TinySae("blocks.2.hook_attn_out", "standard", config=LAYER_NORM),
        ),
    ),
    "neox": (
        "neox",
        (TinySae("blocks.0.hook_attn_out", "standard-raw"), TinySae("blocks.1.hook_mlp_out", "gated")),
    ),
    "neox stream": ("neox", (TinySae("blocks.0.hook_resid_post", "jumprelu", config=RESCALE),)),
    "llama": (
        "llama",
        (TinySae("blocks.0.attn.hook_z", "jumprelu"), TinySae("blocks.1.hook_resid_post", "batchtopk")),
    ),
    "llama skip": (
        "llama",
        (
            TinySae("blocks.0.hook_mlp_in", "skip", "blocks.0.hook_mlp_out"),
            TinySae("blocks.1.hook_resid_pre", "topk-rescaled"),
        ),
    ),
    "gemma2": (
        "gemma2",
        (
            TinySae("blocks.0.hook_attn_out", "jumprelu"),
            TinySae("blocks.1.hook_mlp_in", "jumprelu-transcoder", "blocks.1.hook_mlp_out"),
        ),
    ),
    "gemma2 normalised": (
        "gemma2",
        (
            TinySae("blocks.0.hook_resid_post", "standard"),
            TinySae("blocks.2.ln2.hook_normalized", "jumprelu-transcoder", "blocks.2.hook_mlp_out"),
        ),
    ),
    "gemma3": (
        "gemma3",
        (
            TinySae("blocks.0.hook_mlp_in", "jumprelu-skip", "blocks.0.hook_mlp_out"),
            TinySae("blocks.2.attn.hook_z", "gated-raw"),
        ),
    ),
    "gemma3 stream": (
        "gemma3",
        (TinySae("blocks.0.hook_resid_post", "jumprelu"), TinySae("blocks.1.hook_mlp_out", "jumprelu-centred")),
    ),
    "qwen3": (
        "qwen3",
        (
            TinySae("blocks.0.mlp.hook_in", "transcoder", "blocks.0.hook_mlp_out"),
            TinySae("blocks.2.hook_resid_pre", "matryoshka"),
        ),
    ),
    "gpt2 crowded": (
        "gpt2",
        (
            TinySae("blocks.1.hook_resid_pre", "standard-raw"),
            TinySae("blocks.1.hook_z", "standard"),
            TinySae("blocks.1.hook_attn_out", "jumprelu"),
            TinySae("blocks.1.hook_resid_mid", "topk-raw"),
            TinySae("blocks.1.hook_mlp_out", "gated"),
            TinySae("blocks.1.hook_resid_post", "standard"),
        ),
    ),
    "neox crowded": (
        "neox",
        (
            TinySae("blocks.1.hook_z", "gated"),
            TinySae("blocks.1.hook_mlp_in", "jumprelu-skip", "blocks.1.hook_mlp_out"),
            TinySae("blocks.2.hook_resid_pre", "standard"),
        ),
    ),
    "llama middle": (
        "llama",
        (TinySae("blocks.0.hook_resid_mid", "standard"), TinySae("blocks.2.hook_mlp_out", "topk")),
    ),
    "gemma2 crowded": (
        "gemma2",
        (
            TinySae("blocks.1.hook_attn_out", "jumprelu", config=RESCALE),
            TinySae("blocks.1.hook_resid_mid", "jumprelu-centred"),
            TinySae("blocks.1.hook_mlp_in", "jumprelu-transcoder", "blocks.1.hook_mlp_out"),
            TinySae("blocks.2.hook_mlp_out", "standard"),
        ),
    ),
    "qwen3 stream": (
        "qwen3",
        (TinySae("blocks.0.hook_resid_post", "gated", config=RESCALE), TinySae("blocks.2.hook_attn_out", "topk")),
    ),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    @cache
    def built(name: str) -> TinyModel:
        shape, saes = WORLDS[name]
        return build_model_with(shape, tmp_path_factory.mktemp("world"), saes)

    return built


Case = Callable[[str, PositionsKind, str, ErrorsKind], tuple[Problem, Naive]]


@pytest.fixture(scope="module")
def case(build: Callable[[str], TinyModel]) -> Case:
    """A problem and the oracle for it; nothing changes either."""

    @cache
    def opened(name: str, kind: PositionsKind, task: str, errors: ErrorsKind) -> tuple[Problem, Naive]:
        problem = open_problem(build(name), TASKS[task], kind, errors=errors, batch_size=3)
        return problem, open_naive(build(name), problem)

    return opened


CASES: tuple[tuple[PositionsKind, str, ErrorsKind], ...] = (
    ("each", "roles", "drop"),
    ("each", "index", "keep"),
    ("shared", "mixed", "mean"),
)


@pytest.mark.parametrize(("kind", "task", "errors"), CASES)
@pytest.mark.parametrize("name", WORLDS)
def test_a_circuit_measures_what_plain_hooks_measure(
    build: Callable[[str], TinyModel], case: Case, name: str, kind: PositionsKind, task: str, errors: ErrorsKind
) -> None:
    problem, naive = case(name, kind, task, errors)
    assert_circuits_agree(build(name), Evaluator(problem, "test"), 0, naive)


@pytest.mark.parametrize(("kind", "task", "errors"), CASES[1:])
@pytest.mark.parametrize("name", WORLDS)
def test_the_mask_s_gradient_is_that_of_plain_hooks(
    case: Case, name: str, kind: PositionsKind, task: str, errors: ErrorsKind
) -> None:
    problem, naive = case(name, kind, task, errors)
    expected = check_gradient(problem, naive)
    for site in range(len(problem.sites)):
        assert bool(expected[slice(*problem.space.first[site : site + 2])].any()), site


@pytest.mark.parametrize(
    "name", ["gpt2 heads", "gpt2 normalised", "gemma2", "llama skip", "gpt2 crowded", "gemma2 crowded"]
)
def test_a_circuit_that_changes_is_that_of_a_fresh_evaluation(build: Callable[[str], TinyModel], name: str) -> None:
    problem = open_problem(build(name), TASKS["mixed"], "shared", errors="keep", batch_size=3)
    evaluator = Evaluator(problem, "test")
    draw = torch.Generator().manual_seed(0)
    live = LiveCircuit(evaluator, torch.zeros(len(problem.space), dtype=torch.bool))
    for _ in range(4):
        kept = torch.rand(len(problem.space), generator=draw) < 0.5
        live.advance_to(kept).result()
        torch.testing.assert_close(
            live.measured.logit_diff, evaluator.measure(kept).result().logit_diff, rtol=0, atol=1e-5
        )
    seen = set()
    for site in range(len(problem.sites)):
        nodes = problem.space.of_site(site)
        node = int(kept[nodes.start : nodes.stop].nonzero()[-1, 0]) + nodes.start
        without = kept.clone()
        without[node] = False
        expected = evaluator.measure(without).result()
        assert live.evaluate_first_toggled([node]).result()[0] == pytest.approx(expected.mean_logit_diff, abs=1e-5)
        # One site changes, and back; sites in the middle of a block too.
        for circuit in (without, kept):
            live.advance_to(circuit).result()
            again = evaluator.measure(circuit).result()
            torch.testing.assert_close(live.measured.logit_diff, again.logit_diff, rtol=0, atol=1e-5)
        seen.add(round(expected.mean_logit_diff, 4))
    assert len(seen) == len(problem.sites)


def test_a_session_on_a_crowded_block(build: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """Nodes are switched on and off as a user does; the circuit is written and opened again."""
    tiny_model = build("gpt2 crowded")
    prompts = write_prompts(solvable_task(tiny_model, (6,) * 9, (6,) * 5), tmp_path / "able.jsonl")
    asked = request(tiny_model, prompts, positions="shared")
    session = open_session(asked)
    session.only(set(range(0, len(session.table), 2)))
    draw = random.Random(0)
    for _ in range(12):
        node = draw.randrange(len(session.table))
        session.toggle_latent(session.table.site[node], session.table.latent[node])
    session.undo()
    kept = session.kept.clone()
    fresh = Evaluator(session.problem, "test").evaluate(kept, completeness=False).result()
    assert session.view().test.faithfulness == pytest.approx(fresh.faithfulness, abs=1e-4)
    path = session.export(tmp_path / "c.json")
    again = open_session(replace(asked, circuit=path))
    assert bool((again.kept == kept).all())
    assert again.view().test.faithfulness == pytest.approx(fresh.faithfulness, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2 crowded", "gemma2 crowded"])
def test_what_a_site_of_a_crowded_block_reads_under_a_circuit(build: Callable[[str], TinyModel], name: str) -> None:
    problem = open_problem(build(name), TASKS["mixed"], "shared", batch_size=3)
    kept = random_circuit(problem, 0.5, 1)
    live, naive = LiveCircuit(Evaluator(problem, "test"), kept), open_naive(build(name), problem)
    nodes = names_of_nodes(problem, kept)
    for prompt in (0, 3):
        seen = naive.sae_inputs("test", prompt, nodes)
        for site in range(len(problem.sites)):
            read = live.sae_input(site, prompt)
            torch.testing.assert_close(read[1:], seen[site][1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2 heads", "gpt2 normalised", "gemma2", "gpt2 crowded"])
def test_a_latent_s_activations_are_those_of_its_hook(build: Callable[[str], TinyModel], name: str) -> None:
    tiny_model = build(name)
    problem = open_problem(tiny_model, TASKS["index"])
    naive = open_naive(tiny_model, problem)
    for site in range(len(problem.sites)):
        latent = int(problem.space.latent[problem.space.of_site(site).start])
        view = latent_view(problem, Readout(problem.model), TokenNames(problem), site, latent, "")
        peaks = []
        for pair in problem.task.split("train"):
            x = naive.spliced_until(pair, pair.clean, site)[1][site]
            peaks.append(float(naive.saes[site].encode(x)[1:, latent].detach().max()))
        assert view.histogram_max == pytest.approx(max(peaks), abs=1e-4)


def test_the_direction_of_a_head_latent_goes_through_the_mixing_weights(build: Callable[[str], TinyModel]) -> None:
    tiny_model = build("gpt2 heads")
    site = tiny_model.sites[0]
    mix = tiny_model.model.bridge.original_model.transformer.h[0].attn.c_proj.weight
    direction = site.sae.w_dec[3]
    torch.testing.assert_close(
        output_direction(tiny_model.model, site, direction), direction @ mix, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("errors", ["drop", "keep"])
@pytest.mark.parametrize("name", ["gpt2 heads", "gpt2 normalised", "gemma2", "gpt2 crowded"])
def test_the_audit_measures_what_was_opened(build: Callable[[str], TinyModel], name: str, errors: ErrorsKind) -> None:
    problem = open_problem(build(name), TASKS["index"], errors=errors)
    drawn = reference_tables(problem, "mean").result()
    for table, other in zip(problem.reference_tables, drawn, strict=True):
        torch.testing.assert_close(other.values, table.values, rtol=1e-5, atol=1e-5)
    naive = open_naive(build(name), problem)
    for prompt, pair in enumerate(problem.task.split("test")):
        tokens = naive.tokens(pair.clean)
        losses = exhaust(_cross_entropy(problem, torch.cat([tokens, tokens[:, :1]], 1), spliced=True))
        expected = -naive.spliced("test", prompt).log_softmax(-1)[tokens[0, 0]]
        assert float(losses[-1]) == pytest.approx(float(expected), rel=1e-4)


def exhaust(slices: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("method", ["mask", "ig", "atp", "activation-difference"])
@pytest.mark.parametrize("name", ["gpt2 heads", "gemma2", "gpt2 crowded"])
def test_the_searches_run_at_every_kind_of_site(
    build: Callable[[str], TinyModel], name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_tui.core.search.open_search.check_worth_searching", lambda *_: None)
    problem = open_problem(build(name), TASKS["index"], "each", errors="keep")
    problem = with_candidates(problem, range(0, len(problem.space), 3))
    assert {int(site) for site in problem.space.site} == set(range(len(problem.sites)))
    train, test = Evaluator(problem, "train"), Evaluator(problem, "test")
    search = open_search(problem, train, test, SearchSpec(method, 0.5, 0, QUICK.get(method, {})))
    for _ in search:
        pass
    assert search.result is not None
    assert search.result.train.faithfulness == pytest.approx(
        train.faithfulness(torch.tensor([node in search.result.nodes for node in range(len(problem.space))])).result(),
        abs=1e-4,
    )
