"""The search that a command line or a form describes in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_tui.core.choices import ABLATIONS, AblationKind, ObjectiveKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.objectives import DEFAULT_TARGETS, parse_objectives
from circuit_tui.core.search.registry import method as known_method
from circuit_tui.core.search.setting import SettingValue
from circuit_tui.core.search.spec import SearchSpec

ROBUST_TARGETS: Mapping[ObjectiveKind, float] = {"logit-diff": 0.92, "kl": 0.9, "per-prompt": 0.75}
"""The objectives of ``--robust`` and their targets: what an audit calls good. `docs/search.md` argues the choice."""
ROBUST_ABLATIONS: tuple[AblationKind, ...] = ("mean", "zero", "resample")
"""Its ablations, that of the problem first. ``clean-mean`` is left for the audit: no robust search uses it."""
ROBUST_SLACK = 0.12
"""How much lower its targets are under the others. An audit lets another ablation move faithfulness by 0.15."""


def asked_spec(
    method: str,
    seed: int,
    settings: Mapping[str, SettingValue],
    targets: Sequence[str] = (),
    objectives: str | None = None,
    ablations: Sequence[AblationKind] = ("mean",),
    *,
    slack: float | None = None,
    templates: bool = False,
    robust: bool = False,
) -> SearchSpec:
    """The search that the words describe, its settings as they are given.

    Args:
        method: its name.
        seed: of every draw.
        settings: those that are not left at their default.
        targets: numbers for the first objective, or ``NAME=NUMBER``.
        objectives: names with commas between them; None for faithfulness, or for those of ``--robust``.
        ablations: the ablation of the problem, and the others under which it must hold the objectives.
        slack: how much lower the targets are under the others; None for 0, or for that of ``--robust``.
        templates: whether each template counts.
        robust: whether objectives and templates that are not given are those of ``--robust``.

    Raises:
        UserError: an unknown method or objective, or a target that no circuit can have.
    """
    if robust and objectives is None:
        objectives = ",".join(ROBUST_TARGETS)
    held = parse_objectives(objectives, targets, ROBUST_TARGETS if robust else DEFAULT_TARGETS)
    alone = [each.kind for each in held] == ["logit-diff"]
    return SearchSpec(
        known_method(method).name,
        held[0].target,
        seed,
        settings,
        () if alone else held,
        tuple(ablations[1:]),
        slack if slack is not None else ROBUST_SLACK if robust else 0.0,
        templates or robust,
    )


def parse_ablations(text: str) -> tuple[AblationKind, ...]:
    """The ablations named in `text`, with commas between them, in their order.

    Raises:
        UserError: an unknown or repeated name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ABLATIONS:
            raise UserError(f"--ablation {name}: unknown; choose among {', '.join(ABLATIONS)}")
        if names.count(name) > 1:
            raise UserError(f"--ablation {text}: {name} is named twice")
    return tuple(kind for name in names for kind in ABLATIONS if kind == name)
