"""Packs cut into several padded groups: less padding, and still the numbers and gradients of plain hooks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import open_naive, open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.choices import AblationKind, ErrorsKind
from circuit_tui.core.evaluation.evaluator import Evaluator, pack_circuit
from circuit_tui.core.splice import nodes
from circuit_tui.core.splice.nodes import padded_groups
from circuit_tui.core.splice.position_groups import PositionGroups

FRAMED = (
    TinySae("blocks.0.hook_resid_post", "topk", config=(("normalize_activations", "layer_norm"),)),
    TinySae("blocks.2.hook_attn_out", "standard", config=(("normalize_activations", "layer_norm"),)),
)


@pytest.fixture
def uncosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cut that saves a slot is made."""
    monkeypatch.setattr(nodes, "PADDED_GROUP_COST", {"cpu": 0})


@pytest.mark.usefixtures("uncosted")
@pytest.mark.parametrize(
    ("shape", "ablation", "errors"),
    [("gpt2", "mean", "drop"), ("llama", "clean-mean", "keep"), ("gemma2", "zero", "mean"), ("framed", "mean", "keep")],
)
def test_many_bands_are_what_plain_hooks_are(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, shape: str, ablation: AblationKind, errors: ErrorsKind
) -> None:
    opened = build_model_with("gpt2", tmp_path, FRAMED) if shape == "framed" else tiny_model(shape)
    problem = open_problem(opened, TASKS["roles"], "each", ablation, errors, batch_size=3)
    packs = pack_circuit(problem, torch.ones(len(problem.space), dtype=torch.bool))
    assert all(pack.order is not None and len(pack.padded_groups) > 1 for pack in packs)
    assert_circuits_agree(opened, Evaluator(problem, "test"), seed=0)
    check_gradient(problem, open_naive(opened, problem), rtol=1e-4)


@pytest.mark.parametrize("cost", [0, 3 * 32, 1 << 30])
def test_a_pack_holds_each_node_once(
    tiny_model: Callable[[str], TinyModel], cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "PADDED_GROUP_COST", {"cpu": cost})
    problem = open_problem(tiny_model("llama"), TASKS["roles"])
    space = problem.space
    for seed, share in enumerate((0.02, 0.2, 0.9)):
        kept = random_circuit(problem, share, seed)
        for site, pack in enumerate(pack_circuit(problem, kept)):
            own = [node for node in kept.nonzero()[:, 0].tolist() if int(space.site[node]) == site]
            assert sorted(node for node in pack.nodes.tolist() if node < len(space)) == own
            order = list(range(problem.n_positions)) if pack.order is None else pack.order.tolist()
            for band in pack.padded_groups:
                numbers = pack.nodes[band.slots].reshape(band.latents.shape).tolist()
                for position, row, latents in zip(order[band.groups], numbers, band.latents.tolist(), strict=True):
                    for node, latent in zip(row, latents, strict=True):
                        if node < len(space):
                            assert (int(space.position[node]), int(space.latent[node])) == (position, latent)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(0, 60))
def test_every_cut_pays(counts: list[int], cost: int) -> None:
    counts = sorted(counts, reverse=True)
    cuts = padded_groups(counts, cost)
    assert cuts[0] == 0
    assert cuts == sorted(set(cuts))

    def padded(cuts: list[int]) -> int:
        return sum((stop - start) * counts[start] for start, stop in pairwise([*cuts, len(counts)]))

    sizes = [padded(cuts[: n + 1]) for n in range(len(cuts))]
    assert all(before - after > cost for before, after in pairwise(sizes))
    assert padded(cuts) >= sum(counts)
    if cost == 0:
        assert padded(cuts) == sum(counts)


@given(
    st.permutations(range(4)), st.lists(st.lists(st.integers(-1, 3), min_size=3, max_size=3), min_size=1, max_size=4)
)
def test_a_layout_in_another_order_puts_tokens_back_where_they_were(order: list[int], table: list[list[int]]) -> None:
    layout = PositionGroups(torch.tensor(table), 4)
    other = layout.reordered(torch.tensor(order))
    x = torch.randn(len(table), 3, 2, requires_grad=True)
    valid = layout.is_token.reshape(4, layout.width, 1)
    assert torch.equal(other.group(x) * valid[order], (layout.group(x) * valid)[order])
    torch.testing.assert_close(other.ungroup(other.group(x).tanh(), x), layout.ungroup(layout.group(x).tanh(), x))
    results = [one.ungroup(one.group(x).tanh() * 3, x).square().sum() for one in (layout, other)]
    torch.testing.assert_close(*(torch.autograd.grad(result, x)[0] for result in results))
