"""A model in bfloat16, with SAEs, masks and metrics in float32, gives the float32 model's numbers up to rounding."""

from __future__ import annotations

import pytest
import torch
from tiny.gradients import gradient
from tiny.models_with_saes import CPU, TinyModel, TinySae, build_model_with
from tiny.problems import open_problem
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.splice.problem import Problem

SITES = (TinySae("blocks.0.hook_resid_post", "standard"), TinySae("blocks.1.hook_resid_post", "standard-raw"))
EPSILON = 2.0**-8
"""Half of the distance from 1 to the next bfloat16, the most that one rounding is off."""
# Each of three layers rounds a few times, and some of the errors add up.
TOLERANCE = 12 * EPSILON


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2", "gemma3", "neox", "qwen3"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Problem, Problem]:
    """The same problem with the model in float32 and in bfloat16."""
    tiny_model = build_model_with(request.param, tmp_path_factory.mktemp(request.param), SITES)
    half = TinyModel(
        tiny_model.folder,
        tiny_model.sae_folders,
        load_model(str(tiny_model.folder), CPU, torch.bfloat16),
        tiny_model.sites,
    )
    full, rounded = (open_problem(one, TASKS["roles"], errors="keep") for one in (tiny_model, half))
    tokens = full.prompt_sets["test"].clean
    half.model.verify(tokens.tokens[:2], tokens.last[:2])
    return full, rounded


def in_both(full: Problem, rounded: Problem, share: float) -> tuple[Tensor, Tensor]:
    """Returns a random circuit in the numbering of each problem, `[node]` bool."""
    names = [one.space.coordinates() for one in (full, rounded)]
    common = sorted(set(names[0]) & set(names[1]))
    assert len(common) > 0.9 * len(names[0]), "other latents fire"
    drawn = torch.rand(len(common), generator=torch.Generator().manual_seed(3)) < share
    chosen = {name for name, keep in zip(common, drawn.tolist(), strict=True) if keep}
    kept = [torch.tensor([name in chosen for name in names[index]]) for index in range(2)]
    return kept[0], kept[1]


def test_everything_but_the_model_is_float32(both: tuple[Problem, Problem]) -> None:
    _, rounded = both
    assert rounded.model.dtype == torch.bfloat16
    assert rounded.splits["train"].prefix.dtype == torch.bfloat16
    assert all(weight.dtype == torch.float32 for site in rounded.sites for weight in site.sae.sae.parameters())
    assert all(table.values.dtype == table.base.dtype == torch.float32 for table in rounded.reference_tables)
    assert rounded.splits["train"].plain_logits.dtype == torch.float32
    assert gradient(rounded, torch.ones(len(rounded.space))).dtype == torch.float32
    assert Evaluator(rounded, "test").baselines.plain.logit_diff.dtype == torch.float32


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_circuits_measure_what_they_do_in_float32(both: tuple[Problem, Problem], share: float) -> None:
    kept = in_both(*both, share)
    evaluators = [Evaluator(problem, "test") for problem in both]
    scale = float(both[0].splits["test"].plain_logits.abs().max())
    for ask in ("measure", "measure_removed"):
        ours, theirs = (getattr(one, ask)(circuit).result() for one, circuit in zip(evaluators, kept, strict=True))
        assert float((ours.logit_diff - theirs.logit_diff).abs().max()) < TOLERANCE * scale
        assert float((ours.kl - theirs.kl).abs().max()) < 2 * TOLERANCE * scale
    assert float((ours.logit_diff - theirs.logit_diff).abs().max()) > 0, "nothing was rounded"


def test_gradients_point_where_they_do_in_float32(both: tuple[Problem, Problem]) -> None:
    everything = in_both(*both, 1.0)
    ours, theirs = (
        gradient(problem, torch.full((len(problem.space),), 0.7))[kept]
        for problem, kept in zip(both, everything, strict=True)
    )
    assert float(torch.nn.functional.cosine_similarity(ours, theirs, dim=0)) > 0.97


def test_a_toggle_gives_what_a_fresh_evaluation_gives(both: tuple[Problem, Problem]) -> None:
    _, rounded = both
    kept = in_both(*both, 0.5)[1]
    evaluator = Evaluator(rounded, "test")
    live, changed = LiveCircuit(evaluator, kept), kept.clone()
    changed[int(kept.nonzero()[-1, 0])] = False
    live.advance_to(changed).result()
    # The same way gives the same bits; passes of another shape may round a product differently.
    assert torch.equal(live.measured.logit_diff, LiveCircuit(evaluator, changed).measured.logit_diff)
    scale = float(rounded.splits["test"].plain_logits.abs().max())
    fresh = evaluator.measure(changed).result().logit_diff
    torch.testing.assert_close(live.measured.logit_diff, fresh, rtol=0, atol=TOLERANCE * scale)
