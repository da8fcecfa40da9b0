"""The search methods by name. Adding one is a file with a `Search` and a line here; nothing heavy is imported."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from circuit_tui.core.errors import UserError

Value = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Setting:
    """One number, switch or word a method can be given; its default decides its type, `least` the smallest number."""

    name: str
    default: Value
    help: str
    least: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """A search method: `implementation` is ``module:class`` below `circuit_tui.core.search`.

    `grid` names what moves a run along the frontier: the setting ``"lambda"`` or ``"size"``, or ``"target"``; empty
    where one run has circuits of all sizes. `seeded` is false where the seed changes nothing. `quick` are settings for
    a search that should take a fraction of the time.
    """

    name: str
    description: str
    implementation: str
    settings: tuple[Setting, ...] = ()
    grid: Literal["", "target", "lambda", "size"] = ""
    seeded: bool = True
    quick: Mapping[str, Value] = field(default_factory=dict)

    def resolve(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """All settings with the given ones in place, each of its default's type.

        Raises:
            UserError: an unknown setting or a value of the wrong type.
        """
        known = {setting.name: setting for setting in self.settings}
        values: dict[str, Value] = {setting.name: setting.default for setting in self.settings}
        for name, value in given.items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise UserError(f"--set {name}: method {self.name} has no such setting; it has: {names}")
            values[name] = _convert(self.name, known[name], value)
        return values

    def quick_settings(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """All settings, with those of `quick` in place of what is given at its default or not at all.

        Raises:
            UserError: an unknown setting or a value of the wrong type.
        """
        defaults = self.resolve({})
        return {
            name: self.quick.get(name, value) if value == defaults[name] else value
            for name, value in self.resolve(given).items()
        }


def _convert(method: str, setting: Setting, value: Value) -> Value:
    wanted = type(setting.default)
    try:
        if wanted is bool:
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        converted = wanted(value)
        if wanted is int and isinstance(value, float) and converted != value:
            raise ValueError(value)  # a fraction where a whole number is meant
    except (KeyError, ValueError, OverflowError) as error:
        raise UserError(f"--set {setting.name}={value}: method {method} needs a {wanted.__name__} there") from error
    if isinstance(converted, int | float) and not setting.least <= converted < float("inf"):
        raise UserError(f"--set {setting.name}={value}: must be a finite number, not below {setting.least}")
    return converted


BATCH = Setting("batch", 16, "prompts in a step", 1)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "mask",
            "smallest circuit that reaches the target, in one run (default)",
            "mask:MaskSearch",
            (
                Setting("steps", 300, "optimisation steps before the exact elimination"),
                Setting("batch", 0, "prompts in a step; 0 is 32, or 64 where there are fewer than 384"),
                Setting("lr", 0.05, "Adam learning rate of the mask logits"),
                Setting("refine", 100, "exact evaluations spent on add-and-drop after the elimination"),
            ),
            grid="target",
            quick={"steps": 150, "batch": 32},  # of few prompts the default takes 64, for circuits that are kept
        ),
        Method(
            "published",
            "sigmoid masks with an L1 penalty, as in Caples et al. 2025",
            "published:PublishedSearch",
            (
                Setting("lambda", 0.05, "weight of the mean mask size"),
                Setting("steps", 408, "optimisation steps"),
                BATCH,
                Setting("lr", 0.05, "Adam learning rate"),
                Setting("r", 1.3, "final exponent of the temperature 200^r"),
                Setting("per_position", True, "divide the penalty by the number of positions"),
            ),
            grid="lambda",
        ),
        Method(
            "hard-concrete",
            "L0 gates with a Lagrangian to a size, as in Edge Pruning",
            "hard_concrete:HardConcreteSearch",
            (
                Setting("size", 0, "nodes to keep; 0 looks for the smallest size that reaches the target"),
                Setting("steps", 408, "optimisation steps", 1),
                BATCH,
                Setting("lr", 0.05, "Adam learning rate of the gates"),
                Setting("rate", 0.2, "step of the multipliers"),
            ),
            grid="size",
        ),
        Method(
            "nested",
            "one learned ranking whose prefixes are circuits of every size",
            "nested:NestedSearch",
            (
                Setting("steps", 1000, "optimisation steps"),
                BATCH,
                Setting("lr", 0.05, "Adam learning rate of the scores"),
                Setting("width", 0.5, "how far from the threshold a score still feels the gradient"),
            ),
        ),
        Method(
            "ig",
            "integrated gradients from corrupt to clean, each SAE alone",
            "integrated_gradients:IntegratedGradientsSearch",
            (
                Setting("steps", 10, "points on the path from corrupt to clean", 1),
                Setting("errors", False, "add the SAE errors back while attributing"),
            ),
            seeded=False,
        ),
        Method(
            "atp",
            "attribution patching: one gradient times the difference of activations",
            "attribution_patching:AttributionPatchingSearch",
            (Setting("errors", False, "add the SAE errors back while attributing"),),
            seeded=False,
        ),
        Method(
            "activation-difference",
            "how much a node's activation differs between clean and corrupt",
            "activation_difference:ActivationDifferenceSearch",
            (Setting("paired", True, "mean over pairs of the difference, not difference of the means"),),
            seeded=False,
        ),
        Method("random", "nodes in random order, the control every method must beat", "random_order:RandomSearch"),
    )
}
DEFAULT_METHOD = "mask"
DEFAULT_TARGET = 0.95


def method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UserError: there is none; the line lists those there are.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"--method {name}: unknown method; known are {', '.join(METHODS)}{hint}")
    return METHODS[name]
