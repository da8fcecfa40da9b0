"""Which table of a session is wanted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatentsTable:
    """The list of latents, with the arguments of `listed_latents`."""

    filter: str = ""
    sort: str = "latent"
    reverse: bool = False
    everything: bool = False
    by_site: bool = True


@dataclass(frozen=True, slots=True)
class LatentTable:
    """One latent closely."""

    site: int
    latent: int


@dataclass(frozen=True, slots=True)
class FrontierTable:
    """The frontier of the current or last search."""


TableRequest = LatentsTable | LatentTable | FrontierTable
