"""The benchmarks: they run, they compare two ways to the same numbers, and they count what they say they count."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import list_of_latents
import many_circuits
import options
import pytest
import speed
import torch
from device_peak import Peak, count, peak_of
from in_turn import extra_memory, measure
from published import Recipe
from shapes import SHAPES, random_model, random_problem, random_sites, template_tokens

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.problem import Problem

CPU = torch.device("cpu")
KINDS = {"step": ("step", "published", "bare"), "edits": ("toggle", "column", "published", "bare")}


@pytest.fixture(scope="module", autouse=True)
def peak() -> Iterator[Peak]:
    """What this machine can do at most, measured once for all tests."""
    measured = peak_of(CPU)
    with pytest.MonkeyPatch.context() as patch:
        for benchmark in (speed, options):
            patch.setattr(benchmark, "peak_of", lambda *args, **named: measured)
        yield measured


@pytest.fixture(scope="module", params=["gpt2-tiny", "gemma-2-tiny"])
def problem(request: pytest.FixtureRequest) -> Problem:
    return random_problem(SHAPES[request.param], 5, 7, 4)


def test_recipe_and_engine_compute_the_same_logit_differences(problem: Problem) -> None:
    recipe, space = Recipe(problem), problem.space
    kept = torch.rand(len(space), generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        theirs = recipe.logit_difference("test", slice(None), recipe.hard(kept))
        everything = recipe.logit_difference("test", slice(None), None)
    evaluator = Evaluator(problem, "test")
    ours = evaluator.measure(kept).result().logit_diff
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(evaluator.baselines.spliced.logit_diff, everything, rtol=1e-4, atol=1e-5)
    assert float((ours - everything).abs().max()) > 1e-3, "the circuit changes nothing: nothing is compared"


def test_recipe_and_engine_have_the_same_gradient(problem: Problem) -> None:
    recipe, space = Recipe(problem), problem.space
    mask = torch.rand(len(space), generator=torch.Generator().manual_seed(1)).requires_grad_()
    batch = problem.batch("train", torch.arange(5))
    (ours,) = torch.autograd.grad(
        MaskedModel(problem, torch.arange(len(space))).logit_difference(mask, batch).sum(), mask
    )
    masks = [torch.zeros_like(theta) for theta in recipe.thetas]
    for site, wide in enumerate(masks):
        here = space.site == site
        wide[space.position[here] + 1, space.latent[here]] = mask.detach()[here]
    wide = [one.requires_grad_() for one in masks]
    grads = torch.autograd.grad(recipe.logit_difference("train", slice(None), wide).sum(), wide)
    theirs = torch.stack(
        [
            grads[site][position + 1, latent]
            for site, position, latent in zip(space.site, space.position, space.latent, strict=True)
        ]
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


@torch.no_grad()
def test_few_latents_carry_what_prompts_differ_in_and_the_others_fire_as_before() -> None:
    shape, tokens = SHAPES["gpt2-tiny"], template_tokens(32, 7, 512)
    model, sites = random_model(shape, CPU, torch.float32), []
    for share in (0.0, 0.8):
        torch.manual_seed(1)
        sites.append(random_sites(model, shape, tokens, share))
    for plain, carrying in zip(*sites, strict=True):
        sae, x = carrying.sae.sae, model.run_blocks(model.embed(tokens), 0, carrying.depth_after)[:, 1:]
        count = int((sae.threshold == 0).sum())
        assert 0 < count < shape.d_sae // 20
        own, others = sae.W_dec[:count], sae.W_dec[count:]
        differences = x - x.mean(0)
        shares = (differences @ own[: count // 2].t()).square().sum((0, 1)) / differences.square().sum()
        assert float(shares.sum()) >= 0.8 > float(shares[:-1].sum())
        assert float((others @ own.t()).abs().max()) < 1e-5
        torch.testing.assert_close(own[count // 2 :], -own[: count // 2])
        latents = carrying.sae.encode(x)
        axes = own[: count // 2]
        torch.testing.assert_close(latents[..., :count] @ own, (x - sae.b_dec) @ axes.t() @ axes, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(latents[..., count:], plain.sae.encode(x)[..., count:])


@pytest.mark.slow
def test_every_table_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.json"
    assert speed.main(["--quick", "--json", str(path)]) == 0
    told = capsys.readouterr().out
    report = json.loads(path.read_text())
    assert set(report["shapes"]) == {"gpt2-tiny", "gemma-2-tiny"}
    for name, shape in report["shapes"].items():
        assert f"**{name}**" in told
        for what, kinds in KINDS.items():
            assert tuple(shape[what]) == kinds
            for one in shape[what].values():
                assert 0 < one["low"] <= one["median"] <= one["high"]
                assert one["gflop"] > 0
                assert one["share"] > 0
        # What one step of the recipe asks of the machine that ours does not: M_s, and every latent.
        assert shape["step"]["published"]["gflop"] > 2 * shape["step"]["step"]["gflop"]
        assert shape["step"]["step"]["gflop"] > shape["step"]["bare"]["gflop"]
        assert shape["search"]["recipe_steps"] == 408
        assert shape["search"]["nodes"] > 0
        assert {"optimise", "eliminate", "frontier"} <= set(shape["search"]["stages"])
        assert 0 < sum(shape["search"]["stages"].values()) <= shape["search"]["ours"]


def test_many_circuits_are_timed_against_single_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.json"
    small = ["--nodes", "6", "--test", "3", "--length", "6", "--rounds", "1", "--most", "1,4", "--json", str(path)]
    assert many_circuits.main(["--shapes", "gpt2-tiny", *small]) == 0
    found = json.loads(path.read_text())["gpt2-tiny"]
    assert set(found["seconds"]) == {"1", "4", "chosen"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["apart"] < 1e-4
    assert "| gpt2-tiny | 6 nodes, 3 prompts of 6 |" in capsys.readouterr().out


def test_options_are_measured_where_the_shape_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "options.json"
    quick = ["--prompts", "3", "--length", "6", "--rounds", "2", "--larger", "6", "--json", str(path)]
    assert options.main(["--shape", "gpt2-tiny", *quick]) == 0
    assert set(json.loads(path.read_text())) == {*options.VARIANTS, "as-it-is, bare", "bfloat16, bare", "6 prompts"}
    assert options.main(["--shape", "gemma-2-tiny", "--variants", "as-it-is,sdpa", *quick]) == 0
    assert "sdpa: left out: attention with a soft cap" in capsys.readouterr().out
    assert set(json.loads(path.read_text())) == {"as-it-is", "as-it-is, bare", "6 prompts"}


def test_attention_by_sdpa_is_the_same_attention() -> None:
    shape, tokens = SHAPES["gpt2-tiny"], template_tokens(3, 6, 512)
    model, answer = random_model(shape, CPU, torch.float32), torch.full((3,), 5)
    with torch.no_grad():
        before = model.logits_from(model.embed(tokens), 0, answer)
        options.use_sdpa(model)
        calls = []
        model.bridge.blocks[1].attn.original_component.register_forward_hook(lambda *_: calls.append(1))
        torch.testing.assert_close(model.logits_from(model.embed(tokens), 0, answer), before, rtol=1e-4, atol=1e-5)
    assert calls


def test_a_shape_that_does_not_fit_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "free_memory", lambda device: 24 * 10**9)
    monkeypatch.setattr(speed, "run_shape", lambda *args: pytest.fail("it was built"))
    assert speed.main(["--shapes", "gemma-2-9b-16k,gemma-2-9b-131k"]) == 0
    assert capsys.readouterr().out.count("left out") == 2


def test_an_unknown_shape_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(["--shapes", "gpt5"])
    assert "--shapes gpt5: unknown" in capsys.readouterr().err


def test_products_are_counted_forward_and_backward() -> None:
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7)
    forward = count(lambda: a.detach() @ b, times=3)
    assert forward.flops == {torch.float32: 2 * 3 * 5 * 7}
    assert forward.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7)
    assert count(lambda: (a @ b).sum().backward()).flops == {torch.float32: 2 * 2 * 3 * 5 * 7}
    half = count(lambda: a.detach().bfloat16() @ b.bfloat16())
    assert half.flops == {torch.bfloat16: 2 * 3 * 5 * 7}
    assert half.bytes == forward.bytes / 2


def test_the_bound_is_that_of_what_binds(peak: Peak) -> None:
    a = torch.randn(4, 4)
    work = count(lambda: a @ a)
    rates = {torch.float32: 128.0}
    assert Peak(1e9, rates, "").bound(work) == (1.0, "FLOP/s")
    assert Peak(96.0, {torch.float32: 1e9}, "").bound(work) == (2.0, "bandwidth")
    assert peak.bandwidth > 1e8
    assert peak.flops[torch.float32] > 1e8


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_is_that_of_the_run_alone() -> None:
    size = 64 << 20
    assert size * 0.9 < extra_memory(lambda: torch.ones(size // 4).sum(), CPU) < size * 2
    assert extra_memory(lambda: None, CPU) < size / 4


def test_pieces_of_work_take_turns() -> None:
    calls: list[str] = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    peak = Peak(1.0, {}, "")
    found = measure(runs, 3, CPU, peak)
    assert "".join(calls[-6:]) == "ababab"
    assert found["a"].rounds == 3


def test_the_demo_is_a_shape_too(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    flags = ["--shapes", "demo", "--task", "sva-simple", "--what", "edits", "--nodes", "20", "--rounds", "1"]
    assert speed.main([*flags, "--json", str(path)]) == 0
    shape = json.loads(path.read_text())["shapes"]["demo"]
    assert (shape["prompts"], shape["test_prompts"]) == (512, 128)
    assert tuple(shape["edits"]) == KINDS["edits"]


def test_every_change_of_the_list_of_latents_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["list_of_latents.py", "--nodes", "500", "-n", "1"])
    list_of_latents.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [what for what, _ in list_of_latents.CHANGES]
