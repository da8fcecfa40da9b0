"""Short names of sites, and finding sites by them."""

from __future__ import annotations

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.hook_names import Hook, matching_hooks


@pytest.mark.parametrize(
    ("name", "out", "short"),
    [
        ("blocks.7.hook_resid_post", "", "L7"),
        ("blocks.7.hook_out", "blocks.7.hook_out", "L7"),
        ("blocks.12.hook_resid_pre", "", "L12pre"),
        ("blocks.12.hook_in", "", "L12pre"),
        ("blocks.0.hook_attn_out", "", "L0a"),
        ("blocks.0.hook_mlp_out", "", "L0m"),
        ("blocks.3.attn.hook_z", "", "L3z"),
        ("blocks.3.hook_z", "", "L3z"),
        ("blocks.3.hook_mlp_in", "blocks.3.hook_mlp_out", "L3t"),
        ("blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out", "L3t"),
    ],
)
def test_short_names(name: str, out: str, short: str) -> None:
    assert Hook(name, out).short == short


def test_sites_are_found_by_either_name_in_their_own_order() -> None:
    hooks = [Hook(f"blocks.{layer}.hook_resid_post") for layer in range(3)]
    assert matching_hooks(["L2", "blocks.0.hook_resid_post"], hooks) == (hooks[0].name, hooks[2].name)
    assert matching_hooks([], hooks) == ()
    with pytest.raises(UserError, match="--sites L3: there is no SAE at such a site; there are blocks"):
        matching_hooks(["L0", "L3"], hooks)


def test_configurations_of_both_kinds_are_read() -> None:
    assert Hook.of_config({"hook_name": "blocks.1.hook_in"}) == Hook("blocks.1.hook_in")
    new = {"metadata": {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out"}}
    assert Hook.of_config(new) == Hook("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out")
    assert Hook.of_config({"metadata": None}) == Hook("")
