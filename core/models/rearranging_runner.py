"""Runners that lay the tokens of a batch out otherwise within the blocks of a model than outside of them."""

from __future__ import annotations

import torch
from typing_extensions import override

from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel


class RearrangingRunner(BlockRunner):
    """Runs the blocks of `model`; what does not depend on the layout is the model's own."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    @property
    @override
    def name(self) -> str:
        return self.model.name

    @property
    @override
    def n_layers(self) -> int:
        return self.model.n_layers

    @property
    @override
    def device(self) -> torch.device:
        return self.model.device

    @override
    def hook_point(self, name: str) -> torch.nn.Module:
        return self.model.hook_point(name)
