"""Switches a whole site off, and back on as it was."""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.splice.problem import Problem


class SiteSwitch:
    """Remembers for each site the nodes that switching it off took."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._last: dict[int, Tensor] = {}

    def toggled(self, kept: Tensor, site: int) -> tuple[Tensor, str]:
        """Returns the circuit `kept` `[node]` bool with a site toggled, and what that did in a few words.

        The site goes off if any of it is on. Else on are the nodes that the last such toggle took, or all.
        """
        chosen, short = self._problem.space.site == site, self._problem.sites[site].short
        if kept[chosen].any():
            self._last[site] = kept & chosen
            return kept & ~chosen, f"{short} all off"
        before = self._last.pop(site, chosen)
        return kept | before, f"{short} {'all on' if before is chosen else 'back on'}"
