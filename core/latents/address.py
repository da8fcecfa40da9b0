"""Addresses of latents and nodes, as a user writes them: ``L2/210``, ``L2/210@end``, or with the hook's full name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circuit_tui.core.errors import UserError
from circuit_tui.core.views import NodeTable

_ADDRESS = re.compile(r"(?:(?P<site>[^\s/@]+)(?:/|\s+))?(?P<latent>\d+)(?:@(?P<position>.+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A latent of a site, at all its positions (`position` None) or at one; numbers as in a `NodeTable`."""

    site: int
    latent: int
    position: int | None = None

    def text(self, table: NodeTable) -> str:
        """The address as `parse_address` reads it, with the short name of the site."""
        at = "" if self.position is None else f"@{table.positions[self.position]}"
        return f"{table.sites[self.site].short}/{self.latent}{at}"

    def nodes(self, table: NodeTable) -> tuple[int, ...]:
        """The candidate nodes of `table` that it names.

        Raises:
            UserError: there is none.
        """
        found = tuple(
            node
            for node, key in enumerate(zip(table.site, table.latent, table.position, strict=True))
            if key[:2] == (self.site, self.latent) and self.position in (None, key[2])
        )
        if not found:
            at = "" if self.position is None else f" at {table.positions[self.position]}"
            raise UserError(
                f"{table.sites[self.site].short}/{self.latent}: it never fires on this task{at}, so it is no candidate"
            )
        return found


def parse_address(text: str, table: NodeTable, site: int | None = None) -> Address:
    """Returns the address that `text` writes; without a site in it, that of `site`.

    Raises:
        UserError: it is no address, there is no such site or position, or the site's SAE has no such latent.
    """
    parts = _ADDRESS.fullmatch(text.strip().removeprefix(":"))
    if parts is None:
        raise UserError(f"{text.strip()!r} is no address of a latent; write SITE/LATENT, such as L2/210 or L2/210@end")
    wanted = parts["site"]
    if wanted is not None:
        names = [(each.short.lower(), each.hook.lower()) for each in table.sites]
        site = next((index for index, own in enumerate(names) if wanted.lower() in own), None)
    if site is None:
        raise UserError(f"{text.strip()}: name a site; there are {', '.join(each.short for each in table.sites)}")
    latent, d_sae = int(parts["latent"]), table.sites[site].d_sae
    if latent >= d_sae:
        raise UserError(f"{text.strip()}: out of range, the SAE of {table.sites[site].short} has {d_sae} latents")
    position = None
    if parts["position"] is not None:
        if parts["position"] not in table.positions:
            raise UserError(f"{text.strip()}: no such position; there are {', '.join(table.positions)}")
        position = table.positions.index(parts["position"])
    return Address(site, latent, position)
