"""The hooks that an SAE's configuration names, and short names for them. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuit_tui.core.errors import UserError

_LETTERS = {"hook_attn_out": "a", "hook_resid_mid": "mid", "hook_mlp_out": "m", "attn.hook_z": "z", "hook_z": "z"}
_AFTER = ("hook_resid_post", "hook_out")


@dataclass(frozen=True, slots=True)
class Hook:
    """The hook that an SAE reads; `out` is the one whose output it replaces where that is another (a transcoder)."""

    name: str
    out: str = ""

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Hook:
        """The hook that a sae-lens ``cfg.json`` names, older ones as ``hook_point``; an empty name if it names none."""
        metadata = config.get("metadata") or {}
        name = metadata.get("hook_name") or config.get("hook_name") or config.get("hook_point") or ""
        return cls(str(name), str(metadata.get("hook_name_out") or ""))

    @property
    def short(self) -> str:
        """A name of a few letters.

        ``L7`` for the residual after block 7, ``L7pre`` for the one before it, ``L7mid`` for the one within it;
        ``L7a``, ``L7m`` and ``L7z`` for the outputs of attention, MLP and heads, ``L7t`` for a transcoder.
        """
        _, layer, point = (*self.name.split(".", 2), "", "")[:3]
        if self.out not in ("", self.name):
            return f"L{layer}t"
        return f"L{layer}{_LETTERS.get(point, '' if point in _AFTER else 'pre')}"


def matching_hooks(wanted: Sequence[str], hooks: Sequence[Hook]) -> tuple[str, ...]:
    """The names of the `hooks` that `wanted` names, in full or short, in the order of `hooks`.

    Raises:
        UserError: a name that is not among them.
    """
    for name in wanted:
        if not any(name in (hook.name, hook.short) for hook in hooks):
            known = ", ".join(hook.name for hook in hooks)
            raise UserError(f"--sites {name}: there is no SAE at such a site; there are {known}")
    return tuple(hook.name for hook in hooks if hook.name in wanted or hook.short in wanted)
