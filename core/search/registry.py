"""The search methods by name.

A method is a `SearchMethod` in a file of `methods/`, its settings in `methods/settings.py` and an entry here. Nothing
heavy is imported: the command line lists the methods before torch or pydantic is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.setting import Setting, SettingValue

if TYPE_CHECKING:
    from circuit_tui.core.search.method_settings import MethodSettings


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A search method as the registry lists it.

    Attributes:
        name: the word after ``--method``.
        description: one line for a list.
        method_path: the `SearchMethod`, as ``module:class``. A module that begins with a dot is one of `methods/`.
        settings_path: the `MethodSettings`, written the same way.
        grid: the setting that moves a run along the frontier, ``"lambda"`` or ``"size"``, or ``"target"``; empty where
            one run finds circuits of all sizes.
        seeded: whether the seed changes the result.
    """

    name: str
    description: str
    method_path: str
    settings_path: str
    grid: Literal["", "target", "lambda", "size"] = ""
    seeded: bool = True

    @property
    def settings_class(self) -> type[MethodSettings]:
        """The class of its settings; imports pydantic."""
        found: type[MethodSettings] = load_class(self.settings_path)
        return found

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Its settings in the order in which a form shows them."""
        return self.settings_class.described()

    def parse_settings(self, given: Mapping[str, SettingValue]) -> MethodSettings:
        """All settings: the values of `given`, converted to the type of each setting, and defaults for the rest.

        Raises:
            UserError: an unknown setting, or a value of the wrong type or out of range.
        """
        return self.settings_class.parse(self.name, given)

    def quick_settings(self, given: Mapping[str, SettingValue]) -> MethodSettings:
        """The same for a quick search: `MethodSettings.quick` replaces what `given` leaves at its default.

        Raises:
            UserError: an unknown setting, or a value of the wrong type or out of range.
        """
        return self.parse_settings(given).quickened()


def load_class(path: str) -> Any:
    """Imports the class that a path of `MethodInfo` names."""
    module, class_name = path.split(":")
    return getattr(import_module(module, "circuit_tui.core.search.methods"), class_name)


METHODS: dict[str, MethodInfo] = {
    info.name: info
    for info in (
        MethodInfo(
            "mask",
            "smallest circuit that reaches the target, in one run (default)",
            ".mask:MaskMethod",
            ".settings:MaskSettings",
            grid="target",
        ),
        MethodInfo(
            "published",
            "sigmoid masks with an L1 penalty, as in Caples et al. 2025",
            ".published:PublishedMethod",
            ".settings:PublishedSettings",
            grid="lambda",
        ),
        MethodInfo(
            "hard-concrete",
            "L0 gates with a Lagrangian to a size, as in Edge Pruning",
            ".hard_concrete:HardConcreteMethod",
            ".settings:HardConcreteSettings",
            grid="size",
        ),
        MethodInfo(
            "nested",
            "one learned ranking whose prefixes are circuits of every size",
            ".nested:NestedMethod",
            ".settings:NestedSettings",
        ),
        MethodInfo(
            "ig",
            "integrated gradients from corrupt to clean, each SAE alone",
            ".integrated_gradients:IntegratedGradientsMethod",
            ".settings:IntegratedGradientsSettings",
            seeded=False,
        ),
        MethodInfo(
            "atp",
            "attribution patching: one gradient times the difference of activations",
            ".attribution_patching:AttributionPatchingMethod",
            ".settings:AttributionPatchingSettings",
            seeded=False,
        ),
        MethodInfo(
            "activation-difference",
            "how much a node's activation differs between clean and corrupt",
            ".activation_difference:ActivationDifferenceMethod",
            ".settings:ActivationDifferenceSettings",
            seeded=False,
        ),
        MethodInfo(
            "random",
            "nodes in random order, the control every method must beat",
            ".random_order:RandomMethod",
            ".settings:RandomSettings",
        ),
    )
}
DEFAULT_METHOD = "mask"
DEFAULT_TARGET = 0.95


def method(name: str) -> MethodInfo:
    """The method called `name`.

    Raises:
        UserError: there is none; the line lists those there are.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"--method {name}: unknown method; known are {', '.join(METHODS)}{hint}")
    return METHODS[name]
