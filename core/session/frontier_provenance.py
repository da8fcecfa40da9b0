"""Where a circuit on the frontier of a search came from."""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.search.search import Search


def frontier_provenance(search: Search, kept: Tensor, faithfulness: float) -> Provenance:
    """Returns the provenance of a circuit on the frontier of a search; `faithfulness` is on the search prompts."""
    result = search.result
    if result is not None and result.nodes == frozenset(kept.nonzero()[:, 0].tolist()):
        return Provenance.of_search(result, kept)
    spec = search.spec
    warning = (
        f"A point of the frontier of a search for {spec.target:.2f}, not the circuit it ended in: faithfulness "
        f"on the search prompts is {faithfulness:.3f}."
    )
    reached = search.reaches(int(kept.sum()))
    return Provenance(
        spec.method, dict(spec.settings), spec.seed, spec.target, reached, False, (warning,), kept,
        objectives=tuple((each.kind, each.target) for each in spec.objectives),
        ablations=spec.ablations, slack=spec.slack, templates=spec.templates,
    )  # fmt: skip
