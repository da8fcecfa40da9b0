"""The `objectives` part of a circuit file: what its search had to hold, measured on the circuit as it is now."""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.circuits.objectives_schema import ObjectivePart, ObjectiveValuePart
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.search.found_by import spec_of
from circuit_tui.core.search.held_values import held_values
from circuit_tui.core.search.judge import Judge


def objective_parts(experiment: Experiment, kept: Tensor, provenance: Provenance) -> tuple[ObjectivePart, ...]:
    """Returns the parts for the circuit `kept` `[node]` bool; none for a search for faithfulness alone.

    Raises:
        UserError: an objective has no value, since the empty circuit does as the model does.
    """
    spec = spec_of(provenance, provenance.seed)
    if spec is None or spec.faithfulness_alone:
        return ()
    held = held_values(Judge(spec, experiment.train), experiment.test, kept).result()
    return tuple(
        ObjectivePart(
            kind=objective.kind,
            target=objective.target,
            reached=all(value.reached for value in held if value.kind == objective.kind),
            values=tuple(
                ObjectiveValuePart(ablation=value.ablation, template=value.template, train=value.train, test=value.test)
                for value in held
                if value.kind == objective.kind
            ),
        )
        for objective in spec.held
    )
