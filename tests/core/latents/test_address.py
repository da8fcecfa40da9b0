from __future__ import annotations

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.address import Address, parse_address
from circuit_tui.core.views import NodeTable, SiteInfo

SITES = tuple(SiteInfo(f"blocks.{s}.hook_resid_post", f"L{s}", "sae", "standard", 99, 0) for s in (0, 7))
TABLE = NodeTable(SITES, ("subject", "end"), (0, 1, 1), (0, 0, 1), (4, 12, 12), ("",) * 3, *[(0.0,) * 3] * 5)


@pytest.mark.parametrize(
    ("text", "address", "nodes"),
    [
        ("L7/12", Address(1, 12), (1, 2)),
        (":l7 12@end", Address(1, 12, 1), (2,)),
        ("blocks.0.hook_resid_post/4", Address(0, 4), (0,)),
        (" 12@subject ", Address(1, 12, 0), (1,)),
    ],
)
def test_what_an_address_names(text: str, address: Address, nodes: tuple[int, ...]) -> None:
    assert parse_address(text, TABLE, site=1) == address
    assert address.nodes(TABLE) == nodes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no address"), ("L7", "is no address"), ("L7/x", "is no address"), ("L3/1", "there are L0, L7"),
        ("L7/99", "the SAE of L7 has 99 latents"), ("L7/12@verb", "no such position; there are subject, end"),
        ("12", "name a site"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_said(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_address(text, TABLE)


def test_a_latent_that_never_fires_has_no_nodes() -> None:
    with pytest.raises(UserError, match="L0/5: it never fires on this task at end"):
        Address(0, 5, 1).nodes(TABLE)
