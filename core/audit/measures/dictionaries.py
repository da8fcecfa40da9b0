"""The third control: would directions that nobody learned do as well?

The same search runs with every SAE replaced by a plain dictionary (`plain_dictionaries.py`): random directions, the
principal components, the coordinates themselves. If their circuits are as small, the circuit says nothing about the
SAEs: the behaviour is as easy to find in any basis.
"""

from __future__ import annotations

from circuit_tui.core.audit.altered_problem import DICTIONARY
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Finding, Measurement, SearchRun, rescaled
from circuit_tui.core.audit.plain_dictionaries import KINDS, check_replaceable
from circuit_tui.core.audit.searches import quick_adjective, run_search
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.choices import Verdict
from circuit_tui.core.errors import UserError

SIZE_FACTOR = 2
"""With at most so many times the circuit's nodes a plain dictionary does nearly as well as the SAEs: doubtful."""
NAMES = {
    "random": "random directions",
    "components": "principal components",
    "coordinates": "the coordinates themselves",
}


def dictionaries(audited: AuditedCircuit) -> Measurement:
    """Runs the search with a dictionary of each kind; the smallest circuit that reaches the target counts."""
    searches = dictionary_searches(audited.settings)
    if not searches:
        return Finding("dictionaries", "not measured", "No search with other dictionaries was asked for.")
    try:
        check_replaceable(audited.problem)
    except UserError as error:
        return Finding("dictionaries", "not measured", f"There is nothing to compare with: {error}.")
    runs: list[SearchRun] = []
    for index, search in enumerate(searches):
        steps = run_search(audited, search)
        runs.append((yield from rescaled(steps, index / len(searches), (index + 1) / len(searches))))
    smallest = min((run.size for run in runs if run.reached), default=None)
    verdict: Verdict = "good"
    if smallest is not None and smallest <= SIZE_FACTOR * audited.size:
        verdict = "bad" if smallest <= audited.size else "doubtful"
    found = ", ".join(map(_text, runs))
    numbers: dict[str, float | int | None] = {"own_size": audited.size, "smallest": smallest}
    for run in runs:
        name = run.kind.removeprefix(DICTIONARY)
        numbers |= {f"{name}_size": run.size, f"{name}_faithfulness": run.train, f"{name}_held_out": run.test}
    return Finding(
        "dictionaries", verdict,
        f"With directions that were not learned the {quick_adjective(audited)}search finds {found}, where the circuit "
        f"has {audited.size}: {_MEANING[verdict]}.",
        numbers,
        runs=tuple(runs),
    )  # fmt: skip


def dictionary_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """Returns the searches with other dictionaries, with the circuit's own seed; none unless they are asked for."""
    if not settings.dictionaries:
        return ()
    return tuple(AuditSearch(f"{DICTIONARY}{kind}", settings.seed, settings.seed) for kind in KINDS)


def _text(run: SearchRun) -> str:
    name = NAMES[run.kind.removeprefix(DICTIONARY)]
    if run.reached:
        return f"{run.size} nodes in {name}"
    best = "no number" if run.train is None else f"{run.train:.3f}"
    return f"no circuit in {name} (the best, with {run.size} nodes, comes to {best})"


_MEANING = {
    "good": "the SAEs' latents are what makes it small",
    "doubtful": "the SAEs' latents make it little smaller",
    "bad": "the SAEs' latents do not make it any smaller",
}
