"""TransformerBridge still behaves as the patches of `compat` say, and each patch mends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models import make_model
from tiny.models_with_saes import CPU
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformer_lens.model_bridge import TransformerBridge

from circuit_tui.core.models.compat.attention_patterns import drop_patterns
from circuit_tui.core.models.compat.native_norms import use_native_norms
from circuit_tui.core.models.compat.no_processor import without_processor
from circuit_tui.core.models.compat.norm_hook_points import HookPointReader

TOKENS = torch.randint(3, 20, (2, 9), generator=torch.Generator().manual_seed(0))


def boot(folder: Path) -> Any:
    return TransformerBridge.boot_transformers(str(folder), dtype=torch.float32, device=CPU)


class Counter(TorchDispatchMode):
    """Counts the operations of torch within it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(module: Any, x: Tensor) -> int:
    with torch.no_grad(), Counter() as counter:
        module(x)
    return counter.count


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The commands by which something was to be installed; torchvision is not."""
    asked: list[object] = []
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: asked.append(command))
    return asked


def test_the_bridge_still_installs_what_a_processor_needs(tmp_path: Path, installed: list[list[str]]) -> None:
    """When this fails, delete the patch `no_processor`."""
    boot(make_model("gemma3-sighted", tmp_path))
    assert installed
    assert "torchvision" in installed[0]


def test_without_a_processor_nothing_is_installed(tmp_path: Path, installed: list[list[str]]) -> None:
    from transformers import AutoProcessor

    before = AutoProcessor.__dict__["from_pretrained"]
    folder = make_model("gemma3-sighted", tmp_path)
    with without_processor():
        boot(folder)
    assert not installed
    assert AutoProcessor.__dict__["from_pretrained"] is before


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma3", "neox"])
def test_a_norm_of_the_bridge_still_takes_more_steps_than_the_model_s(shape: str, tmp_path: Path) -> None:
    """When this fails, delete the patch `native_norms`."""
    bridge = boot(make_model(shape, tmp_path))
    norm, x = bridge.blocks[1].ln1, torch.randn(2, 9, 16)
    own = operations(norm.original_component, x)
    assert operations(norm, x) > own
    use_native_norms(bridge)
    assert operations(norm, x) == own


def test_a_norm_of_the_bridge_still_needs_a_hook_of_its_own_for_a_gradient(tmp_path: Path) -> None:
    """When this fails, delete the patch `norm_hook_points`: a hook of torch will do."""
    norm = boot(make_model("neox", tmp_path)).blocks[1].ln2
    x, seen = torch.randn(2, 9, 16, requires_grad=True), list[Tensor]()
    handle = norm.hook_normalized.register_forward_hook(lambda _, __, out: seen.append(out))
    norm(x)
    handle.remove()
    assert not seen[0].requires_grad
    reader = HookPointReader(norm.hook_normalized)
    norm(x)
    reader.remove()
    assert reader.values[0].requires_grad
    assert not norm.hook_normalized.fwd_hooks
    assert not norm.hook_normalized._forward_hooks


def test_attention_of_the_bridge_still_keeps_its_last_pattern(tmp_path: Path) -> None:
    """When this fails, delete the patch `attention_patterns`."""
    bridge = boot(make_model("gpt2", tmp_path))
    attention = bridge.blocks[1].attn
    bridge(TOKENS)
    assert attention._pattern is not None
    drop_patterns(bridge)
    bridge(TOKENS)
    assert attention._pattern is None
