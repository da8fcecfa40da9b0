"""What has no edges is refused in one line that says why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from circuit_tui.core.edges.site_nodes import SiteNodes
from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening import float32
from circuit_tui.core.opening.request import OpenRequest


def test_matching_pursuit_has_no_pre_activations() -> None:
    sae: Any = SimpleNamespace(
        name="pursuit", architecture="matching_pursuit", elementwise=False, directions=lambda latents: latents
    )
    with pytest.raises(
        UserError, match=r"SAE pursuit: its latents \(matching_pursuit\) have no pre-activation"
    ) as info:
        SiteNodes.of(sae, torch.tensor([1]))
    assert "\n" not in str(info.value)


def test_a_bfloat16_model_without_memory_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(request: OpenRequest, *_: object) -> None:
        asked.append(request.dtype)
        raise OutOfMemory("out of memory while loading the model")

    monkeypatch.setattr(float32, "open_experiment", full)
    with pytest.raises(UserError, match="edges need the model in float32, and there is no memory for it") as info:
        float32.open_float32(OpenRequest(dtype="bfloat16"))
    assert asked == ["float32"]
    assert "\n" not in str(info.value)
    with pytest.raises(OutOfMemory, match="out of memory while loading the model"):
        float32.open_float32(OpenRequest())
