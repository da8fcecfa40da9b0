"""transformers still behaves as the patches of `compat` say, and each patch mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny.models import make_model
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.activations import ACT2FN, NewGELUActivation
from transformers.utils import logging

from circuit_tui.core.models.compat.gelu import fuse_gelu
from circuit_tui.core.models.compat.progress_bars import hide_progress_bars


def test_the_gelu_of_gpt2_is_still_written_out() -> None:
    """When this fails, delete the patch `gelu`."""
    assert isinstance(ACT2FN["gelu_new"], NewGELUActivation)
    x = torch.randn(64, requires_grad=True)
    assert len(graph(ACT2FN["gelu_new"](x))) > 4
    fused = nn.Sequential(ACT2FN["gelu_new"])
    fuse_gelu(fused)
    assert len(graph(fused(x))) <= 2  # with that of the leaf
    torch.testing.assert_close(fused(x), ACT2FN["gelu_new"](x), rtol=0, atol=1e-6)


def graph(out: torch.Tensor) -> set[object]:
    """The operations that a gradient would go through."""
    found: set[object] = set()
    left = [out.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [following for following, _ in node.next_functions]
    return found


@pytest.fixture
def bars() -> Iterator[None]:
    """transformers' progress bars, as a fresh process has them."""
    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


@pytest.mark.usefixtures("bars")
def test_transformers_still_draws_a_bar_while_it_loads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """When this fails, delete the patch `progress_bars`."""
    make_model("gpt2", tmp_path)
    capfd.readouterr()
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "%" in capfd.readouterr().err
    hide_progress_bars()
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "%" not in capfd.readouterr().err
