"""The search that found a circuit, to be made again."""

from __future__ import annotations

from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.spec import SearchSpec


def spec_of(provenance: Provenance, seed: int) -> SearchSpec | None:
    """Returns the search that found the circuit, with the seed `seed`; None if it was made by hand.

    Raises:
        UserError: a target or an objective that no search of this version can have.
    """
    if provenance.target is None:
        return None
    return SearchSpec(
        provenance.method,
        provenance.target,
        seed,
        provenance.settings,
        tuple(Objective(*each) for each in provenance.objectives),
        provenance.ablations,
        provenance.slack,
        provenance.templates,
    )
