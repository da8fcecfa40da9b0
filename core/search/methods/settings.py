"""The settings of each search method. No torch: the command line checks them before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from circuit_tui.core.search.method_settings import MethodSettings
from circuit_tui.core.search.setting import SettingValue

BATCH_HELP = "prompts in a step"
ERRORS_HELP = "add the SAE errors back while attributing"


class MaskSettings(MethodSettings):
    """Settings of ``mask``."""

    # Where prompts are few the default batch is 64, for circuits that are kept: too many for a quick search.
    quick: ClassVar[Mapping[str, SettingValue]] = {"steps": 150, "batch": 32}

    steps: int = Field(300, ge=0, description="optimisation steps before the exact elimination")
    batch: int = Field(0, ge=0, description="prompts in a step; 0 is 32, or 64 where there are fewer than 384")
    lr: float = Field(0.05, ge=0, description="Adam learning rate of the mask logits")
    refine: int = Field(100, ge=0, description="exact evaluations spent on add-and-drop after the elimination")


class PublishedSettings(MethodSettings):
    """Settings of ``published``."""

    penalty: float = Field(0.05, alias="lambda", ge=0, description="weight of the mean mask size")
    steps: int = Field(408, ge=0, description="optimisation steps")
    batch: int = Field(16, ge=1, description=BATCH_HELP)
    lr: float = Field(0.05, ge=0, description="Adam learning rate")
    r: float = Field(1.3, ge=0, description="final exponent of the temperature 200^r")
    per_position: bool = Field(True, description="divide the penalty by the number of positions")


class HardConcreteSettings(MethodSettings):
    """Settings of ``hard-concrete``."""

    size: int = Field(0, ge=0, description="nodes to keep; 0 looks for the smallest size that reaches the target")
    steps: int = Field(408, ge=1, description="optimisation steps")
    batch: int = Field(16, ge=1, description=BATCH_HELP)
    lr: float = Field(0.05, ge=0, description="Adam learning rate of the gates")
    rate: float = Field(0.2, ge=0, description="step of the multipliers")


class NestedSettings(MethodSettings):
    """Settings of ``nested``."""

    steps: int = Field(1000, ge=0, description="optimisation steps")
    batch: int = Field(16, ge=1, description=BATCH_HELP)
    lr: float = Field(0.05, ge=0, description="Adam learning rate of the scores")
    width: float = Field(0.5, ge=0, description="how far from the threshold a score still feels the gradient")


class IntegratedGradientsSettings(MethodSettings):
    """Settings of ``ig``."""

    steps: int = Field(10, ge=1, description="points on the path from corrupt to clean")
    errors: bool = Field(False, description=ERRORS_HELP)


class AttributionPatchingSettings(MethodSettings):
    """Settings of ``atp``."""

    errors: bool = Field(False, description=ERRORS_HELP)


class ActivationDifferenceSettings(MethodSettings):
    """Settings of ``activation-difference``."""

    paired: bool = Field(True, description="mean over pairs of the difference, not difference of the means")


class RandomSettings(MethodSettings):
    """``random`` has no settings."""
