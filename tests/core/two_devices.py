"""A model on two devices, each SAE on its block's: the same numbers as on one, and no operation mixes devices.

Torch counts devices when it first computes a gradient, so `test_device_map.py` runs this file in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from tiny.gradients import gradient, random_mask
from tiny.models_with_saes import CPU, TinySae, build_model_with
from tiny.searches import QUICK
from tiny.second_device import with_second_device
from tiny.sessions import assert_toggles_alike, request, spread_out, write_prompts
from tiny.solvable_task import solvable_task
from transformer_lens.model_bridge import TransformerBridge

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import open_session


@pytest.fixture
def on_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Spreads a model: its first block on the CPU, the rest on a second device, with accelerate's hooks."""
    boot = TransformerBridge.boot_transformers

    def spread(source: str, device: Any = None, device_map: Any = None, **given: Any) -> Any:
        bridge = boot(source, device=CPU, **given)
        for module, place in zip([*bridge.blocks, bridge.ln_final, bridge.unembed], [CPU, *[far] * 9], strict=False):
            if device_map is None:
                break
            module.to(place)
            add_hook_to_module(module.original_component, AlignDevicesHook(execution_device=place))
        return bridge

    with with_second_device() as far:
        monkeypatch.setattr(TransformerBridge, "boot_transformers", spread)
        yield far


PLAIN: dict[str, Any] = {}
OTHERS = {"positions": "shared", "ablation": "resample", "errors": "mean"}


@pytest.mark.parametrize(("shape", "changes"), [("gpt2", PLAIN), ("gemma2", OTHERS)])
def test_toggles_are_the_same(
    solvable_request: Callable[..., OpenRequest], on_two: torch.device, shape: str, changes: dict[str, Any]
) -> None:
    asked = solvable_request(shape, **changes)
    near, far = open_session(asked), open_session(spread_out(asked))
    model, sites = far.problem.model, far.problem.sites
    assert model.block_devices == [CPU, on_two, on_two]
    assert model.can_run_subset == near.problem.model.can_run_subset
    assert [site.sae.device for site in sites] == [model.block_devices[site.layer] for site in sites]
    assert on_two in {site.sae.device for site in sites}
    assert far.table == near.table
    assert far.info.device == "cpu and far:0"
    assert_toggles_alike(near, far)


@pytest.mark.parametrize("method", ["mask", "ig"])
def test_a_search_finds_the_same(
    solvable_request: Callable[..., OpenRequest], on_two: torch.device, method: str
) -> None:
    found = []
    for each in (solvable_request("llama"), spread_out(solvable_request("llama"))):
        session = open_session(each)
        settings = QUICK[method] | ({"steps": 3} if "steps" in QUICK[method] else {})
        search = session.search(SearchSpec(method, 0.8, 0, settings))
        for step in search:
            if step.stage != "optimise":
                search.stop()
        assert search.result is not None
        found.append(search.result)
    near, far = found
    assert far.nodes == near.nodes
    assert far.test.faithfulness == pytest.approx(near.test.faithfulness, abs=1e-5)


def test_gradients_are_the_same_inside_blocks(tmp_path: Path, on_two: torch.device) -> None:
    """The stream changes its device into a block and back, in the forward and in the backward pass."""
    saes = [TinySae("blocks.0.hook_mlp_out", "standard"), TinySae("blocks.1.attn.hook_z", "jumprelu")]
    tiny = build_model_with("gpt2", tmp_path, saes)
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * 6, (6,) * 4), tmp_path / "p.jsonl"))
    near, far = (open_session(each).problem for each in (asked, spread_out(asked)))
    assert [site.sae.device for site in far.sites] == [CPU, on_two]
    mask = random_mask(near)
    expected = gradient(near, mask)
    assert float(expected.abs().max()) > 1e-4
    torch.testing.assert_close(gradient(far, mask), expected, rtol=1e-4, atol=1e-6)
